#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/math.h"
#include "formats/hugging_face.h"
#include "model/arch/architecture.h"
#include "model/device_upload.h"
#include "model/matrix_finder.h"
#include "model/planned_weights.h"

namespace sluice::model {

const std::byte* blocks_of(const StoredMatrix& stored, core::ThreadPool& pool,
                           std::vector<std::byte>* scratch) {
  if (const std::byte* in_place = stored.in_place()) return in_place;
  scratch->resize(
      static_cast<size_t>(stored.outputs() * core::bytes_of(stored.type, stored.inputs())));
  pool.run([&](int thread, int threads) {
    assemble(stored, core::split(stored.rows, 1, thread, threads), scratch->data());
  });
  return scratch->data();
}

void add_not_finite(const WeightLoader& loader, const std::string& tensor, int64_t row,
                    formats::Problems* problems) {
  problems->add("tensor '{}', row {}: holds values or scales that are not finite",
                loader.checkpoint.stored_name(tensor), row);
}

bool check_finite(const WeightLoader& loader, const std::string& tensor, const StoredMatrix& stored,
                  formats::Problems* problems) {
  std::vector<int64_t> rows(static_cast<size_t>(loader.pool.threads()), kNoRow);
  loader.pool.run([&](int thread, int threads) {
    const core::Range range = core::split(stored.rows, 1, thread, threads);
    rows[static_cast<size_t>(thread)] = find_row_not_finite(stored, range).value_or(kNoRow);
  });
  const int64_t first = *std::min_element(rows.begin(), rows.end());
  if (first != kNoRow) add_not_finite(loader, tensor, stored.first_row + first, problems);
  return first == kNoRow;
}

namespace {

// "blk.3.ffn_up_exps.weight" → "blk.3.ffn_up_exps.17.weight".
std::string member_name(const std::string& stack, int64_t member) {
  const size_t suffix = stack.rfind('.');
  return fmt::format("{}.{}{}", stack.substr(0, suffix), member, stack.substr(suffix));
}

// Finds every tensor of the architecture's tables in the checkpoint before anything is packed.
class Planner {
 public:
  struct Parts {
    const formats::Checkpoint& checkpoint;
    const Spec& spec;
    core::DType decoded_type;  // of matrices that cannot stay in their blocks
    bool reorders_inputs;      // the processor's steps do
    CardShare share;           // whose tensors are planned
    Placement placement;       // of a share: experts of the host are the first card's
    formats::Problems* problems;
  };
  Planner(const Parts& parts, std::set<std::vector<int32_t>>* input_orders)
      : checkpoint_(parts.checkpoint),
        spec_(parts.spec),
        decoded_type_(parts.decoded_type),
        reorders_inputs_(parts.reorders_inputs),
        share_(parts.share),
        placement_(parts.placement),
        input_orders_(*input_orders),
        problems_(*parts.problems),
        finder_(parts.checkpoint, parts.problems) {}

  void add_embedding(Weights* weights) {
    // A tied output matrix is the embedding once more, in packed form.
    const TensorRow<Weights> output{
        .name = spec_.tied_embeddings ? kEmbeddingTensor : kOutputTensor,
        .columns = Extent::kHidden,
        .rows = Extent::kVocab,
        .matrix = &Weights::output};
    add(output, std::string(output.name), weights);
    const std::string embedding(kEmbeddingTensor);
    const auto* view =
        finder_.find_tensor(embedding, {.rows = spec_.vocab, .columns = spec_.hidden});
    if (view == nullptr) return;
    if (core::decodes_alone(view->type))
      weights->embedding = *view;
    else
      finder_.refuse_type(embedding, view->type);
  }

  template <typename Owner>
  void add(const TensorRow<Owner>& row, const std::string& tensor, Owner* owner) {
    const bool is_promised =
        !row.promise.empty() && formats::says_has(checkpoint_.metadata(), row.promise);
    if (row.presence == Presence::kOptional && !is_promised && !finder_.has(tensor)) return;
    const TensorShape shape{.rows = extent_of(spec_, row.rows),
                            .columns = extent_of(spec_, row.columns)};
    if (row.vector != nullptr) {
      const core::TensorView* view = finder_.find_tensor(tensor, shape);
      if (view == nullptr) return;
      if (!core::decodes_alone(view->type)) return finder_.refuse_type(tensor, view->type);
      const bool is_cut = cut_of({.columns = row.columns}) == Cut::kColumns;
      return vectors_.push_back({tensor, is_cut ? part_of(*view) : *view, &(owner->*row.vector)});
    }
    auto stored = finder_.find(tensor, shape);
    if (!stored) return;
    const Cut cut = cut_of({.columns = row.columns, .rows = row.rows});
    if (cut == Cut::kFirst && !share_.is_first()) return;
    if (cut == Cut::kRows && !share_.is_whole()) {
      const core::Range rows = share_.of(stored->rows);
      stored = stored->part(rows.begin, rows.end - rows.begin);
    }
    sort_inputs(&*stored);
    plan({tensor, std::move(*stored), &(owner->*row.matrix)}, row.widen);
    if (cut == Cut::kColumns && !share_.is_whole()) cut_inputs(&matrices_.back());
  }

  // Rows with several matrices: see Lie.
  void add_stack(const TensorRow<LayerWeights>& row, int32_t layer, LayerWeights* owner) {
    const std::string stack = fmt::format(fmt::runtime(row.name), layer);
    const std::string joined = fmt::format(kJoinedHeads, layer);
    const TensorShape shape{.count = extent_of(spec_, row.count),
                            .rows = extent_of(spec_, row.rows),
                            .columns = extent_of(spec_, row.columns)};
    std::vector<Matrix>& list = owner->*row.matrices;
    const bool experts = row.lie == Lie::kStack;
    const bool is_on_host =
        experts && layer < spec_.layers && placement_.experts(layer) == Place::kHost;
    const core::Range members = is_on_host ? members_on_host(shape.count)
                                           : share_.of(shape.count);  // Cut::kMembers: all lists
    list.resize(static_cast<size_t>(members.end - members.begin));
    if (!experts && checkpoint_.find(stack) == nullptr && finder_.has(joined))
      return add_heads(row.lie, joined, &list);
    const std::optional<int32_t> experts_of =
        experts && layer < spec_.layers ? std::optional(layer) : std::nullopt;
    const double share = experts ? 1.0 * spec_.experts.used / spec_.experts.count : 1;
    if (!experts || checkpoint_.find(stack) != nullptr || checkpoint_.is_lost(stack)) {
      const auto stored = finder_.find(stack, shape);
      if (!stored) return;
      for (int64_t i = members.begin; i < members.end; ++i)
        plan({.tensor = stack,
              .stored = stored->part(i * shape.rows, shape.rows),
              .matrix = &list[static_cast<size_t>(i - members.begin)],
              .token_share = share,
              .experts_of = experts_of,
              .use = kernels::DeviceUse::kStack},
             row.widen);
      return;
    }
    for (int64_t i = 0; i < shape.count; ++i) {
      const std::string tensor = member_name(stack, i);
      auto stored = finder_.find(tensor, {.rows = shape.rows, .columns = shape.columns});
      if (!stored || i < members.begin || i >= members.end) continue;
      if (experts) sort_inputs(&*stored);
      plan({.tensor = tensor,
            .stored = std::move(*stored),
            .matrix = &list[static_cast<size_t>(i - members.begin)],
            .token_share = share,
            .experts_of = experts_of,
            .use = kernels::DeviceUse::kStack},
           row.widen);
    }
  }

  // An expert's rows are put in order once, for gate and up. GPTQ's writers give both one order,
  // that of the inputs they share; where they differ, neither is sorted.
  void settle_expert_orders(const LayerWeights& layer) {
    if (input_orders_.empty()) return;
    for (size_t i = 0; i < layer.expert_gate.size(); ++i) {
      PlannedMatrix* const gate = planned(layer.expert_gate[i]);
      PlannedMatrix* const up = planned(layer.expert_up[i]);
      if (gate == nullptr || up == nullptr || gate->stored.input_order == up->stored.input_order)
        continue;
      for (PlannedMatrix* matrix : {gate, up}) {
        matrix->stored.input_order = nullptr;
        choose_type(&matrix->stored, matrix->widen);
      }
    }
  }

  // What is added from now on is no part of a step.
  void begin_drafts() { step_share_ = 0; }

  void refuse_unknown() {
    for (const auto& [name, view] : checkpoint_.tensors())
      if (!finder_.used().contains(name) && !is_of_draft_layer(name) &&
          !is_bias_of_zeros(name, view))
        problems_.add("tensor '{}' is no part of architecture '{}'", checkpoint_.stored_name(name),
                      spec_.architecture);
  }

  std::vector<PlannedMatrix>& matrices() { return matrices_; }
  std::vector<PlannedVector>& vectors() { return vectors_; }

 private:
  // Where it can stay in its blocks so. Matrices that share their input have mostly one order.
  void sort_inputs(StoredMatrix* stored) {
    if (stored->sorted == core::DType::kF32 || !reorders_inputs_) return;
    const auto& values = std::get<kernels::Int4Matrix>(stored->values);
    stored->input_order = input_orders_.insert(inputs_by_group(values)).first->data();
  }

  core::Range members_on_host(int64_t count) const {
    return share_.is_first() ? core::Range{0, count} : core::Range{};
  }

  // Of those planned last.
  PlannedMatrix* planned(const Matrix& matrix) {
    const auto found = std::find_if(matrices_.rbegin(), matrices_.rend(),
                                    [&](const auto& p) { return p.matrix == &matrix; });
    return found == matrices_.rend() ? nullptr : &*found;
  }

  // Keys or values of every head, out of the matrix that has both.
  void add_heads(Lie lie, const std::string& joined, std::vector<Matrix>* list) {
    const int64_t keys = spec_.latent.nope_dims, values = spec_.latent.value_dims;
    const auto stored =
        finder_.find(joined, {.rows = spec_.heads * (keys + values), .columns = spec_.latent.rank});
    if (!stored) return;
    const core::Range heads = share_.of(spec_.heads);
    for (int64_t head = heads.begin; head < heads.end; ++head) {
      const int64_t first = head * (keys + values);
      StoredMatrix part =
          lie == Lie::kHeadKeys ? stored->part(first, keys) : stored->part(first + keys, values);
      if (lie == Lie::kHeadKeys) part.order = Order::kTransposed;
      plan({.tensor = joined,
            .stored = std::move(part),
            .matrix = &(*list)[static_cast<size_t>(head - heads.begin)],
            .use = kernels::DeviceUse::kStack},
           Widen::kNo);
    }
  }

  // This card's columns.
  void cut_inputs(PlannedMatrix* planned) {
    const StoredMatrix& stored = planned->stored;
    planned->inputs = share_.of(stored.inputs());
    const int64_t block = core::info(stored.type).block_values;
    const int64_t inputs = planned->inputs_kept();
    if (inputs % block != 0)
      problems_.add("tensor '{}' over {} cards: {} of {} inputs are no whole blocks of {}",
                    planned->tensor, share_.cards, inputs, stored.inputs(), block);
  }
  // This card's values of a vector.
  core::TensorView part_of(const core::TensorView& vector) const {
    const core::Range values = share_.of(vector.values());
    return {.type = vector.type,
            .dims = 1,
            .shape = {values.end - values.begin},
            .data = vector.data + core::bytes_of(vector.type, values.begin)};
  }

  // Decides in which blocks the matrix is packed.
  void choose_type(StoredMatrix* stored, Widen widen) const {
    const bool in_blocks = core::info(stored->joined).block_values > 1;
    const bool is_plain = std::holds_alternative<const std::byte*>(stored->values);
    stored->type = stored->joined;
    if (in_blocks ? stored->order == Order::kTransposed : !is_plain) stored->type = decoded_type_;
    if (stored->input_order != nullptr) stored->type = stored->sorted;
    if (widen == Widen::kF32) stored->type = core::DType::kF32;
  }

  void plan(PlannedMatrix planned, Widen widen) {
    choose_type(&planned.stored, widen);
    planned.widen = widen;
    planned.token_share *= step_share_;
    matrices_.push_back(std::move(planned));
  }

  // GPTQ's writers give every module a bias.
  static bool is_bias_of_zeros(std::string_view name, const core::TensorView& view) {
    const std::span bytes(view.data, static_cast<size_t>(view.bytes()));
    return name.ends_with(".bias") && view.dims == 1 &&
           std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
  }

  // The layers of multi-token prediction are behind the model's own.
  bool is_of_draft_layer(std::string_view tensor) const {
    for (int32_t i = 0; i < spec_.draft_layers; ++i)
      if (tensor.starts_with(fmt::format("blk.{}.", spec_.layers + i))) return true;
    return false;
  }

  const formats::Checkpoint& checkpoint_;
  const Spec& spec_;
  const core::DType decoded_type_;
  const bool reorders_inputs_;
  const CardShare share_;
  const Placement placement_;
  std::set<std::vector<int32_t>>& input_orders_;
  formats::Problems& problems_;
  MatrixFinder finder_;
  std::vector<PlannedMatrix> matrices_;
  std::vector<PlannedVector> vectors_;
  double step_share_ = 1;
};

void add_layer(const Spec& spec, const Architecture& architecture, int32_t layer, Planner* planner,
               LayerWeights* owner) {
  for (const LayerTable& table : architecture.layer_tables())
    for (const TensorRow<LayerWeights>& row : table) {
      if (!is_in_layer(spec, row.where, layer)) continue;
      if (row.matrices != nullptr)
        planner->add_stack(row, layer, owner);
      else
        planner->add(row, fmt::format(fmt::runtime(row.name), layer), owner);
    }
  planner->settle_expert_orders(*owner);
}

void add_layers(const Spec& spec, const Architecture& architecture, DraftLayers drafts,
                Planner* planner, Weights* weights) {
  weights->layers.resize(static_cast<size_t>(spec.layers));
  for (int32_t layer = 0; layer < spec.layers; ++layer)
    add_layer(spec, architecture, layer, planner, &weights->layers[static_cast<size_t>(layer)]);
  if (drafts == DraftLayers::kLeave || spec.draft_layers == 0) return;
  planner->begin_drafts();
  weights->drafts.resize(1);
  add_layer(spec, architecture, spec.layers, planner, &weights->drafts[0].layer);
  for (const TensorRow<DraftWeights>& row : draft_tensors())
    planner->add(row, fmt::format(fmt::runtime(row.name), spec.layers), &weights->drafts[0]);
}

// Every tensor of the model; `weights` gets the places that matrices and vectors will have.
void add_model(const Spec& spec, const Architecture& architecture, DraftLayers drafts,
               Planner* planner, Weights* weights) {
  planner->add_embedding(weights);
  for (const TensorRow<Weights>& row : model_tensors())
    planner->add(row, std::string(row.name), weights);
  add_layers(spec, architecture, drafts, planner, weights);
  planner->refuse_unknown();
}

core::Result<void> load_vectors(const WeightLoader& loader,
                                const std::vector<PlannedVector>& planned, Weights* weights,
                                formats::Problems* problems) {
  int64_t values = 0;
  for (const PlannedVector& p : planned) {
    values += core::round_up(p.view.values(), core::kCacheLineBytes / 4);
    weights->vector_file_bytes += p.view.bytes();
  }
  weights->vectors = core::Buffer(values * static_cast<int64_t>(sizeof(float)));
  auto* out = weights->vectors.as<float>();
  for (const PlannedVector& p : planned) {
    kernels::decode(p.view.type, p.view.data, p.view.values(), out);
    if (!std::all_of(out, out + p.view.values(), [](float x) { return std::isfinite(x); }))
      problems->add("tensor '{}': holds values that are not finite",
                    loader.checkpoint.stored_name(p.tensor));
    *p.vector = out;
    out += core::round_up(p.view.values(), core::kCacheLineBytes / 4);
  }
  if (loader.device == nullptr) return {};
  const core::Buffer host = std::move(weights->vectors);
  weights->device_vectors =
      TRY(loader.device->allocate(host.bytes(), kernels::MemoryKind::kDevice));
  loader.device->upload(weights->device_vectors.data(), host.data(), host.bytes());
  for (const PlannedVector& p : planned) {
    const int64_t at = reinterpret_cast<const std::byte*>(*p.vector) - host.data();
    *p.vector = reinterpret_cast<Vector>(weights->device_vectors.data() + at);
  }
  return {};
}

// Packs in pieces, each looked at just before: its bytes are in the cache then.
void check_and_pack(const WeightLoader& loader, const PlannedMatrix& planned,
                    const kernels::PackArgs& args, formats::Problems* problems) {
  constexpr int64_t kPieceBytes = 64 << 10;
  const StoredMatrix& stored = planned.stored;
  std::vector<int64_t> rows(static_cast<size_t>(loader.pool.threads()), kNoRow);
  loader.pool.run([&](int thread, int threads) {
    const auto each =
        static_cast<int>(std::clamp<int64_t>(stored.bytes / (threads * kPieceBytes), 1, 1 << 12));
    int64_t& first = rows[static_cast<size_t>(thread)];
    for (int piece = thread * each; piece < (thread + 1) * each; ++piece) {
      const core::Range range = core::split(stored.rows, 1, piece, threads * each);
      if (first == kNoRow) first = find_row_not_finite(stored, range).value_or(kNoRow);
      loader.ops.pack(args, piece, threads * each);
    }
  });
  const int64_t first = *std::min_element(rows.begin(), rows.end());
  if (first != kNoRow) add_not_finite(loader, planned.tensor, stored.first_row + first, problems);
}

// Its rows are read where they lie, as tokens come: of a tied one the output matrix is looked at.
void check_embedding(const WeightLoader& loader, const core::TensorView& embedding,
                     formats::Problems* problems) {
  if (loader.spec.tied_embeddings) return;
  check_finite(loader, std::string(kEmbeddingTensor), stored_blocks(embedding), problems);
  loader.checkpoint.release(embedding);
}

// Packs in the order of the plan, every matrix by all threads.
void pack_matrices(const WeightLoader& loader, const std::vector<PlannedMatrix>& planned,
                   Weights* weights, formats::Problems* problems) {
  const auto packed_bytes = [&](const StoredMatrix& m) {
    return core::round_up(loader.ops.packed_bytes(m.type, m.outputs(), m.inputs()),
                          core::kCacheLineBytes);
  };
  int64_t storage_bytes = 0;
  int64_t total_bytes = 0;
  for (const PlannedMatrix& p : planned) {
    storage_bytes += packed_bytes(p.stored);
    total_bytes += p.stored.bytes;
  }
  weights->matrices = core::Buffer(storage_bytes);
  std::byte* packed = weights->matrices.data();
  int64_t done_bytes = 0;
  std::vector<std::byte> scratch;
  for (const PlannedMatrix& p : planned) {
    const kernels::PackArgs args{.type = p.stored.type,
                                 .outputs = p.stored.outputs(),
                                 .inputs = p.stored.inputs(),
                                 .weights = blocks_of(p.stored, loader.pool, &scratch),
                                 .packed = packed};
    check_and_pack(loader, p, args, problems);
    *p.matrix = {{args.type, args.outputs, args.inputs, packed}, p.stored.input_order};
    weights->sources.push_back({p.tensor, p.matrix, p.stored.bytes, p.token_share});
    packed += packed_bytes(p.stored);
    for (const core::TensorView& view : p.stored.tensors) loader.checkpoint.release(view);
    done_bytes += p.stored.bytes;
    if (loader.progress) loader.progress(done_bytes, total_bytes);
  }
}

// Where the experts go; what is found is said before anything is loaded.
core::Result<Placement> place(const WeightLoader& loader, const PlacementSizes& sizes) {
  if (!loader.share.is_whole()) return *loader.placement;  // place_over_cards() has looked at it
  // A device without a limit of its own (the reference) has room for everything.
  const bool is_limited = sizes.free_bytes > 0;
  const int64_t kept_bytes = bytes_kept(sizes, loader.kv_bytes);
  Placement placement = loader.placement.value_or(Placement());
  if (is_limited && !loader.placement) placement = TRY(fit_experts(sizes, kept_bytes));
  if (placement.has_hot_to_fit()) placement = fit_hot_experts(sizes, placement, kept_bytes);
  if (is_limited) TRY(check_placement(sizes, placement, kept_bytes));
  TRY(check_host(sizes.host_bytes(placement), loader.host_bytes));
  if (loader.placed && loader.spec.experts.count > 0)
    loader.placed(describe(placement, sizes, loader.speeds));
  return placement;
}

}  // namespace

void copy_in_order(const float* x, const Matrix& matrix, float* out) {
  if (matrix.input_order == nullptr) {
    std::copy_n(x, matrix.inputs, out);
    return;
  }
  for (int64_t i = 0; i < matrix.inputs; ++i) out[i] = x[matrix.input_order[i]];
}

void find_faults(const formats::Checkpoint& checkpoint, formats::Problems* problems) {
  const auto spec = read_spec(checkpoint, problems);
  if (!spec) return MatrixFinder(checkpoint, problems).check_scales();
  Weights weights;
  Planner planner({.checkpoint = checkpoint,
                   .spec = *spec,
                   .decoded_type = core::DType::kF32,
                   .reorders_inputs = false,
                   .share = {},
                   .placement = {},
                   .problems = problems},
                  &weights.input_orders);
  add_model(*spec, *find_architecture(spec->architecture).value(), DraftLayers::kLoad, &planner,
            &weights);
  if (checkpoint.config_faults().in_quantization) MatrixFinder(checkpoint, problems).check_scales();
}

core::Result<PlacementSizes> WeightLoader::measure() const {
  const Architecture* architecture = TRY(find_architecture(spec.architecture));
  formats::Problems problems;
  Weights weights;
  Planner planner({.checkpoint = checkpoint,
                   .spec = spec,
                   .decoded_type = decoded_type,
                   .reorders_inputs = false,
                   .share = share,
                   .placement = {},
                   .problems = &problems},
                  &weights.input_orders);
  add_model(spec, *architecture, drafts, &planner, &weights);
  if (!problems.empty()) return problems.error();
  return DeviceUpload(*this, planner.matrices(), &problems).sizes(weights);
}

core::Result<void> WeightLoader::load(Weights* weights) const {
  const Architecture* architecture = TRY(find_architecture(spec.architecture));
  formats::Problems problems;
  Planner planner({.checkpoint = checkpoint,
                   .spec = spec,
                   .decoded_type = decoded_type,
                   .reorders_inputs = device == nullptr,
                   .share = share,
                   .placement = placement.value_or(Placement()),
                   .problems = &problems},
                  &weights->input_orders);
  add_model(spec, *architecture, drafts, &planner, weights);
  if (!problems.empty()) return problems.error();
  TRY(load_vectors(*this, planner.vectors(), weights, &problems));
  check_embedding(*this, weights->embedding, &problems);
  std::vector<PlannedMatrix>& matrices = planner.matrices();
  if (device == nullptr) {
    pack_matrices(*this, matrices, weights, &problems);
    if (!problems.empty()) return problems.error();
    return {};
  }
  weights->placement = TRY(place(*this, DeviceUpload(*this, matrices, &problems).sizes(*weights)));
  const auto host =
      std::stable_partition(matrices.begin(), matrices.end(), [&](const PlannedMatrix& p) {
        return !p.experts_of || weights->placement.experts(*p.experts_of) == Place::kDevice;
      });
  const std::vector<PlannedMatrix> on_host(std::make_move_iterator(host),
                                           std::make_move_iterator(matrices.end()));
  matrices.erase(host, matrices.end());
  TRY(DeviceUpload(*this, matrices, &problems).run(weights));
  pack_matrices(*this, on_host, weights, &problems);
  if (!problems.empty()) return problems.error();
  return {};
}

}  // namespace sluice::model
