// The feed-forward part as a choice of experts: route, sort the rows by expert, run each expert
// that was chosen over its rows, add what they gave. The shared experts are one dense part beside.
#include <algorithm>
#include <numeric>

#include "core/math.h"
#include "kernels/half.h"
#include "model/forward.h"

namespace sluice::model {

using kernels::ActivationForm;

namespace {

constexpr int64_t kManyRows = 64;  // of a step
constexpr int64_t kPieceBytesMin = 64 << 10, kPieceBytesMax = 1 << 20;

const Matrix& of(const std::vector<Matrix>& matrices, const ExpertGroup& group) {
  return matrices[static_cast<size_t>(group.expert)];
}

// Whether a group's rows are copied together, and not read where the step's only row lies.
bool is_gathered(int64_t rows, const Matrix& gate) {
  return rows > 1 || gate.input_order != nullptr;
}

}  // namespace

void Forward::place_experts(Placer& placer) {
  const ExpertSpec& experts = spec_.experts;
  if (experts.count == 0) return;
  ExpertRows& x = experts_;
  const int64_t choices = rows_max_ * experts.used;
  placer.place(&x.logits, rows_max_ * experts.count);
  placer.place(&x.ids, choices);
  placer.place(&x.later_ids, choices);
  placer.place(&x.weights, choices);
  placer.place(&x.in, choices * spec_.hidden);
  placer.place(&x.gate, choices * experts.ffn);
  placer.place(&x.up, choices * experts.ffn);
  placer.place(&x.out, choices * spec_.hidden);
  if (role_ == Role::kRoutedExperts) placer.place(&x.carried, rows_max_ * spec_.hidden);
  // Each expert's rows are packed apart; a form may round their number up.
  constexpr int64_t kRoundedRows = 16;
  const int64_t groups = std::min<int64_t>(choices, experts.count);
  const int64_t inputs_max = std::max(spec_.hidden, experts.ffn);
  for (const ActivationForm form : kPackedForms) {
    if (!uses(form)) continue;
    x.packed_bytes[static_cast<size_t>(form)] =
        ops_.activation_bytes(form, choices, inputs_max) +
        groups * (ops_.activation_bytes(form, kRoundedRows, inputs_max) + core::kCacheLineBytes);
    placer.place(&x.packed[static_cast<size_t>(form)], x.packed_bytes[static_cast<size_t>(form)]);
  }
}

// Before the threads meet for the groups' products.
void Forward::plan_groups(std::span<const int32_t> ids) {
  experts_.plan.build(ids);
  place_groups();
  experts_.in_order.resize(2 * experts_.plan.groups().size());
  std::iota(experts_.in_order.begin(), experts_.in_order.end(), 0);
  experts_.fetched = 0;
  experts_.next_in.store(0, std::memory_order_relaxed);
  experts_.next_down.store(0, std::memory_order_relaxed);
}

// Where the packed rows of each group begin, for inputs of gate and up and for those of down.
void Forward::place_groups() {
  const auto groups = experts_.plan.groups();
  for (const ActivationForm form : kPackedForms) {
    const auto f = static_cast<size_t>(form);
    if (experts_.packed[f] == nullptr) continue;
    int64_t in_bytes = 0, gate_bytes = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
      experts_.in_at[f][g] = in_bytes;
      experts_.gate_at[f][g] = gate_bytes;
      const auto bytes = [&](int64_t inputs) {
        return core::round_up(ops_.activation_bytes(form, groups[g].count, inputs),
                              core::kCacheLineBytes);
      };
      in_bytes += bytes(spec_.hidden);
      gate_bytes += bytes(spec_.experts.ffn);
    }
    ASSERT(std::max(in_bytes, gate_bytes) <= experts_.packed_bytes[f], "{} and {} bytes of {}",
           in_bytes, gate_bytes, experts_.packed_bytes[f]);
  }
}

// Of a step of one row every group whose weights have no order of their own reads that row, which
// each thread has packed.
Forward::GroupInput Forward::in_of(const Worker& w, const LayerWeights& layer, size_t group) const {
  if (w.rows == 1 && !is_gathered(w.rows, of(layer.expert_gate, experts_.plan.groups()[group])))
    return {w.inputs->normed, w.inputs->packed};
  GroupInput input{.x = experts_.in + experts_.plan.groups()[group].first * int64_t{spec_.hidden}};
  for (size_t f = 0; f < input.packed.size(); ++f)
    if (experts_.packed[f] != nullptr)
      input.packed[f] = experts_.packed[f] + experts_.in_at[f][group];
  return input;
}

// Values that were put in order lie where up's were.
Forward::GroupInput Forward::activated_of(const LayerWeights& layer, size_t group) const {
  const ExpertGroup& g = experts_.plan.groups()[group];
  const bool is_ordered = of(layer.expert_down, g).input_order != nullptr;
  GroupInput input{.x = (is_ordered ? experts_.up : experts_.gate) +
                        g.first * int64_t{spec_.experts.ffn}};
  for (size_t f = 0; f < input.packed.size(); ++f)
    if (experts_.packed[f] != nullptr)
      input.packed[f] = experts_.packed[f] + experts_.gate_at[f][group];
  return input;
}

// Calls work(group, thread, threads) so that every group's rows are done once: small groups are
// dealt to the threads, large ones are shared.
template <typename Work>
void Forward::for_groups(const Worker& w, const Work& work) {
  constexpr int32_t kSharedRowsOfThread = 4;
  const auto groups = experts_.plan.groups();
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].count >= kSharedRowsOfThread * w.threads)
      work(g, w.thread, w.threads);
    else if (static_cast<int>(g % static_cast<size_t>(w.threads)) == w.thread)
      work(g, 0, 1);
  }
}

// Packs a group's rows in the forms that the expert's matrices want.
void Forward::pack_group(const GroupInput& input, size_t group,
                         std::initializer_list<const Matrix*> matrices, int thread, int threads) {
  for (const ActivationForm form : kPackedForms) {
    const auto wants = [&](const Matrix* m) { return ops_.activation_form(m->type) == form; };
    if (std::none_of(matrices.begin(), matrices.end(), wants)) continue;
    ops_.quantize_activations({.form = form,
                               .x = input.x,
                               .rows = experts_.plan.groups()[group].count,
                               .inputs = (*matrices.begin())->inputs,
                               .packed = input.packed[static_cast<size_t>(form)]},
                              thread, threads);
  }
}

void Forward::linear_group(const GroupInput& input, size_t group, const Matrix& matrix,
                           const Piece& piece, float* y) {
  const ExpertGroup& g = experts_.plan.groups()[group];
  ops_.linear({.weights = matrix,
               .x = input.x,
               .x_packed = input.packed[static_cast<size_t>(ops_.activation_form(matrix.type))],
               .rows = g.count,
               .y = y + g.first * matrix.outputs},
              static_cast<int>(piece.piece), static_cast<int>(piece.pieces));
}

// Into how many pieces of about so many bytes the product of a group's rows with one expert's
// matrix is cut. Products of many rows read their inputs once a piece.
int64_t Forward::pieces_of(const Matrix& matrix, int64_t piece_bytes) const {
  constexpr int64_t kOutputsMin = 32;
  const int64_t bytes = ops_.packed_bytes(matrix.type, matrix.outputs, matrix.inputs);
  if (rows_ > kManyRows) return pool_.threads();
  return std::clamp(core::div_ceil(bytes, piece_bytes), int64_t{1},
                    int64_t{1} + matrix.outputs / kOutputsMin);
}

// A thread reads slowly where a piece begins, so pieces are large; but a piece should not take
// longer than what comes behind its matrix keeps the other threads busy, so that nobody waits long
// in the end.
template <typename Work>
void Forward::take_pieces(std::atomic<int64_t>& next, int64_t matrices, const Matrix& like,
                          const Work& work) const {
  const int64_t bytes = ops_.packed_bytes(like.type, like.outputs, like.inputs);
  const auto pieces_at = [&](int64_t matrix) {
    const int64_t behind_of_thread = bytes * (matrices - 1 - matrix) / pool_.threads();
    return pieces_of(like, std::clamp(behind_of_thread, kPieceBytesMin, kPieceBytesMax));
  };
  int64_t matrix = -1, pieces = 0, first = 0;  // `first`: the number of the matrix's first piece
  for (;;) {
    const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
    while (i >= first + pieces) {
      first += pieces;
      if (++matrix == matrices) return;
      pieces = pieces_at(matrix);
    }
    work(matrix, Piece{i - first, pieces});
  }
}

// Leaves the plan of this layer.
void Forward::route_rows(Worker& w, const LayerWeights& layer, int32_t number) {
  const ExpertSpec& spec = spec_.experts;
  if (w.row_threads > 1 || w.thread == 0)
    ops_.route({.rule = spec.rule,
                .logits = experts_.logits,
                .bias = layer.router_bias,
                .rows = w.rows,
                .experts = spec.count,
                .used = spec.used,
                .ids = experts_.ids,
                .weights = experts_.weights},
               w.row_thread, w.row_threads);
  rows_done(w);
  if (w.thread == 0) {
    const auto choices = static_cast<size_t>(w.rows * spec.used);
    plan_groups({experts_.ids, choices});
    if (batch_->routing_observer != nullptr)
      (*batch_->routing_observer)(number, {experts_.ids, choices}, {experts_.weights, choices});
  }
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

// A step's only row in the forms that its experts want; not those that gather it.
void Forward::pack_own_row(const Worker& w, const LayerWeights& layer) {
  const auto groups = experts_.plan.groups();
  for (const ActivationForm form : kPackedForms) {
    const auto wants = [&](const ExpertGroup& group) {
      const Matrix& gate = of(layer.expert_gate, group);
      return !is_gathered(w.rows, gate) &&
             (ops_.activation_form(gate.type) == form ||
              ops_.activation_form(of(layer.expert_up, group).type) == form);
    };
    if (std::none_of(groups.begin(), groups.end(), wants)) continue;
    ops_.quantize_activations({.form = form,
                               .x = w.inputs->normed,
                               .rows = 1,
                               .inputs = spec_.hidden,
                               .packed = w.inputs->packed[static_cast<size_t>(form)]},
                              0, 1);
  }
}

// A thread's share of a group's rows, in the order that its weights have, packed for gate and up.
void Forward::gather_group(const Worker& w, const LayerWeights& layer, size_t group, int thread,
                           int threads) {
  const ExpertGroup& g = experts_.plan.groups()[group];
  const Matrix& gate = of(layer.expert_gate, g);
  const core::Range rows = core::split(g.count, 1, thread, threads);
  for (int64_t i = g.first + rows.begin; i < g.first + rows.end; ++i) {
    const float* row =
        w.inputs->normed + experts_.plan.choices()[i] / spec_.experts.used * int64_t{spec_.hidden};
    copy_in_order(row, gate, experts_.in + i * spec_.hidden);
  }
  pack_group(in_of(w, layer, group), group, {&gate, &of(layer.expert_up, g)}, thread, threads);
}

// The rows of every group that gathers them.
void Forward::gather_groups(Worker& w, const LayerWeights& layer) {
  const auto groups = experts_.plan.groups();
  if (w.rows == 1) pack_own_row(w, layer);
  const auto gathers = [&](const ExpertGroup& g) {
    return is_gathered(w.rows, of(layer.expert_gate, g));
  };
  const bool is_any_gathered = std::any_of(groups.begin(), groups.end(), gathers);
  if (is_any_gathered)
    for_groups(w, [&](size_t g, int thread, int threads) {
      if (gathers(groups[g])) gather_group(w, layer, g, thread, threads);
    });
  lap(w, &StepTimes::rows_ns);
  if (is_any_gathered) meet(w);
}

// A thread's share of what down reads, where its weights have an order: beside, where up's were.
void Forward::order_activated(const LayerWeights& layer, size_t group, int thread, int threads) {
  const ExpertGroup& g = experts_.plan.groups()[group];
  const Matrix& down = of(layer.expert_down, g);
  if (down.input_order == nullptr) return;
  const core::Range rows = core::split(g.count, 1, thread, threads);
  for (int64_t i = g.first + rows.begin; i < g.first + rows.end; ++i)
    copy_in_order(experts_.gate + i * down.inputs, down, experts_.up + i * down.inputs);
}

// silu(gate) · up of every group and of the shared experts, packed for down.
void Forward::activate_groups(Worker& w, const LayerWeights& layer, SharedExperts shared) {
  const int64_t ffn = spec_.experts.ffn;
  const auto groups = experts_.plan.groups();
  for_groups(w, [&](size_t g, int thread, int threads) {
    const int64_t at = groups[g].first * ffn;
    ops_.silu_mul({.gate = experts_.gate + at,
                   .up = experts_.up + at,
                   .rows = groups[g].count,
                   .columns = ffn,
                   .out = experts_.gate + at},
                  thread, threads);
    order_activated(layer, g, thread, threads);
    pack_group(activated_of(layer, g), g, {&of(layer.expert_down, groups[g])}, thread, threads);
  });
  if (shared == SharedExperts::kBeside) {
    ops_.silu_mul({.gate = gate_,
                   .up = up_,
                   .rows = w.rows,
                   .columns = spec_.experts.shared_ffn,
                   .out = w.inputs->activated},
                  w.row_thread, w.row_threads);
    pack(w, w.inputs->activated, {&layer.shared_down});
  }
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

void Forward::expert_block(Worker& w, const LayerWeights& layer, int32_t number) {
  const ExpertSpec& spec = spec_.experts;
  if (spec.shared_ffn > 0) {
    normalize(w, layer.ffn_norm, {&layer.shared_gate, &layer.shared_up});
    linear(w, w.inputs->normed,
           {{.weights = &layer.router, .y = experts_.logits},
            {.weights = &layer.shared_gate, .y = gate_},
            {.weights = &layer.shared_up, .y = up_}});
  } else {
    normalize(w, layer.ffn_norm, {});
    linear(w, w.inputs->normed, {{.weights = &layer.router, .y = experts_.logits}});
  }
  route_rows(w, layer, number);
  const bool has_shared = spec.shared_ffn > 0;
  routed_products(w, layer, has_shared ? SharedExperts::kBeside : SharedExperts::kNone);
  if (has_shared)
    linear(w, w.inputs->activated,
           {{.weights = &layer.shared_down, .residual = hidden_, .y = hidden_}});
  else
    meet(w);
  add_routed(w, experts_.weights, hidden_);
  meet(w);
}

// Into experts_.out: the planned groups through their experts.
void Forward::routed_products(Worker& w, const LayerWeights& layer, SharedExperts shared) {
  gather_groups(w, layer);
  const auto groups = experts_.plan.groups();
  const auto product = [&](int64_t place, const Piece& piece) {
    const int32_t matrix = experts_.in_order[static_cast<size_t>(place)];
    const auto g = static_cast<size_t>(matrix / 2);
    const bool is_gate = matrix % 2 == 0;
    linear_group(in_of(w, layer, g), g,
                 of(is_gate ? layer.expert_gate : layer.expert_up, groups[g]), piece,
                 is_gate ? experts_.gate : experts_.up);
  };
  const int64_t fetched = experts_.fetched;
  for (int64_t i = 0; i < fetched; ++i) product(i, {w.thread, w.threads});
  take_pieces(experts_.next_in, std::ssize(experts_.in_order) - fetched, layer.expert_gate.front(),
              [&](int64_t i, const Piece& piece) { product(fetched + i, piece); });
  lap(w, &StepTimes::linear_ns);
  meet(w);
  activate_groups(w, layer, shared);
  take_pieces(experts_.next_down, std::ssize(groups), layer.expert_down.front(),
              [&](int64_t matrix, const Piece& piece) {
                const auto g = static_cast<size_t>(matrix);
                linear_group(activated_of(layer, g), g, of(layer.expert_down, groups[g]), piece,
                             experts_.out);
              });
  lap(w, &StepTimes::linear_ns);
}

// out += what the experts gave.
void Forward::add_routed(Worker& w, const float* weights, float* out) {
  ops_.weighted_sum({.x = experts_.out,
                     .places = experts_.plan.places(),
                     .weights = weights,
                     .rows = w.rows,
                     .used = spec_.experts.used,
                     .columns = spec_.hidden,
                     .out = out},
                    w.thread, w.threads);
  lap(w, &StepTimes::rows_ns);
}

}  // namespace sluice::model
