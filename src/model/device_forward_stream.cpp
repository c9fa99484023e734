// Experts of the host in steps of many rows. The link is slower than either memory, but a device
// computes a long prompt in less time than it takes to copy the weights: so they are copied layer
// by layer, two layers' room on the device, and the processor has nothing to do. Of several cards
// each copies its run of a layer's experts, over its own link.
#include <algorithm>

#include "kernels/device_weights.h"
#include "model/device_forward.h"

namespace sluice::model {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int32_t kLayersAhead = 2;  // the first slots of bring()

int64_t device_bytes(kernels::PackedLayout layout, const Matrix& matrix) {
  return core::round_up(
      kernels::device_weight_bytes(kernels::brought_type(layout), matrix.outputs, matrix.inputs),
      kAlignment);
}

}  // namespace

// All host layers have matrices of the same types, or none is streamed.
void DeviceForward::plan_streaming(const MachineSpeeds& speeds) {
  Streaming& s = streaming_;
  const auto layout_of = [&](const std::vector<Matrix>& matrices) {
    return kernels::packed_layout(*host_ops_, matrices.front().type);
  };
  const LayerWeights* first = nullptr;
  for (int32_t number = spec_.experts.leading_dense; number < spec_.layers; ++number) {
    if (weights_.placement.experts(number) != Place::kHost) continue;
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(number)];
    if (first == nullptr) first = &layer;
    for (const std::vector<Matrix>* matrices :
         {&layer.expert_gate, &layer.expert_up, &layer.expert_down})
      for (const Matrix& m : *matrices)
        if (m.type != first->expert_gate.front().type || m.outputs % 16 != 0 || m.inputs % 32 != 0)
          return;
  }
  s.in = s.down = layout_of(first->expert_gate);
  if (s.in == kernels::PackedLayout::kUnknown) return;
  const Matrix &gate = first->expert_gate.front(), &down = first->expert_down.front();
  s.in_stride = device_bytes(s.in, gate);
  s.down_stride = device_bytes(s.down, down);
  const auto host_bytes = [&](const Matrix& m) {
    return host_ops_->packed_bytes(m.type, m.outputs, m.inputs);
  };
  s.staging_bytes = core::round_up(std::max(host_bytes(gate), host_bytes(down)), kAlignment);
  const LayerWork work{.bytes = experts_brought() * (2 * host_bytes(gate) + host_bytes(down)),
                       .row_operations = 2.0 * static_cast<double>(gate.outputs * gate.inputs) * 3 *
                                         static_cast<double>(spec_.experts.used)};
  s.rows_min = streamed_rows_min(work, speeds);
  const bool wants_pulls = pull_share_of(speeds) > 0;
  if ((s.rows_min > rows_max_ && !wants_residents() && !wants_pulls) || !share_.is_first()) return;
  // Pinning changes nothing of what is there.
  auto adopted =
      device_.adopt(const_cast<std::byte*>(weights_.matrices.data()), weights_.matrices.bytes());
  if (adopted.ok())
    adopted_ = std::move(*adopted);
  else
    s.rows_min = INT64_MAX;
}

std::string DeviceForward::streaming_text() const {
  if (is_deterministic_)
    return "prompts leave the host's experts there: a device rounds them otherwise "
           "(--deterministic)";
  if (streaming_.in == kernels::PackedLayout::kUnknown)
    return "prompts leave the host's experts there: a device cannot read how they are kept";
  std::string text =
      streaming_.rows_min == INT64_MAX
          ? "prompts leave the host's experts there: their memory cannot be pinned, or no speed of "
            "the link is known"
          : fmt::format("steps of {} tokens or more copy the host's experts to the device",
                        streaming_.rows_min);
  if (pulls_.share > 0)
    text += fmt::format("; decode steps take {:.0f} % of what they read of them over the link",
                        100.0 * pulls_.share / kernels::kPullShareOne);
  return text;
}

// When it is first needed: KV has its room by then.
bool DeviceForward::make_stream_room() {
  if (stream_storage_.bytes() > 0) return true;
  const Streaming& s = streaming_;
  auto room = device_.allocate(kLayersAhead * layer_room() + 2 * s.staging_bytes,
                               kernels::MemoryKind::kDevice);
  if (!room.ok()) return false;
  stream_storage_ = std::move(*room);
  return true;
}

void DeviceForward::begin_streaming(const Shape& shape) {
  const bool is_long = host_ != nullptr && shape.rows >= streaming_.rows_min;
  bool is_on = is_long;
  on_cards([&](DeviceForward& card) { is_on = is_on && card.make_stream_room(); });
  if (is_long && !is_on) streaming_.rows_min = INT64_MAX;
  on_cards([&](DeviceForward& card) {
    card.streaming_.is_on = is_on;
    if (is_on) card.bring_first(shape);
  });
}

void DeviceForward::bring_first(const Shape& shape) {
  Streaming& s = streaming_;
  s.layers = host_layers_;
  // Of the last layer only the rows go on that somebody reads.
  if (weights_.placement.experts(spec_.layers - 1) == Place::kHost && shape.last_rows < s.rows_min)
    s.layers.pop_back();
  s.next_to_bring = s.next_to_use = 0;
  for (int32_t slot = 0; slot < kLayersAhead; ++slot) bring_next();
}

void DeviceForward::bring_next() {
  Streaming& s = streaming_;
  if (s.next_to_bring == s.layers.size()) return;
  const LayerWeights& layer = *s.layers[s.next_to_bring];
  const auto slot = static_cast<int32_t>(s.next_to_bring++ % kLayersAhead);
  const StackRoom room{stream_storage_.data() + slot * layer_room(), experts_brought()};
  s.matrices.clear();
  const core::Range experts = share_.of(spec_.experts.count);
  for (int64_t expert = experts.begin; expert < experts.end; ++expert)
    add_expert(layer, static_cast<size_t>(expert), room, expert - experts.begin);
  device_.bring({.matrices = s.matrices,
                 .staging = stream_storage_.data() + kLayersAhead * layer_room(),
                 .staging_bytes = s.staging_bytes,
                 .slot = slot});
}

// More of streaming_.matrices: the expert as member `at` of the stacks.
void DeviceForward::add_expert(const LayerWeights& layer, size_t expert, const StackRoom& room,
                               int64_t at) {
  Streaming& s = streaming_;
  const auto add = [&](const Matrix& m, kernels::PackedLayout layout, std::byte* to) {
    s.matrices.push_back({.layout = layout,
                          .outputs = m.outputs,
                          .inputs = m.inputs,
                          .from = m.data,
                          .bytes = host_ops_->packed_bytes(m.type, m.outputs, m.inputs),
                          .to = to});
  };
  std::byte* const in = room.base + at * s.in_stride;
  add(layer.expert_gate[expert], s.in, in);
  add(layer.expert_up[expert], s.in, in + room.experts * s.in_stride);
  add(layer.expert_down[expert], s.down,
      room.base + 2 * room.experts * s.in_stride + at * s.down_stride);
}

// The matrices there; which rows they are for is the caller's.
kernels::DeviceExpertArgs DeviceForward::experts_in(const LayerWeights& layer,
                                                    const StackRoom& room) const {
  const Streaming& s = streaming_;
  const auto stack = [&](const Matrix& m, kernels::PackedLayout layout, int64_t first,
                         int64_t stride) {
    return kernels::DeviceStack{
        {kernels::brought_type(layout), m.outputs, m.inputs, room.base + first},
        stride,
        static_cast<int32_t>(room.experts)};
  };
  const int64_t in_bytes = room.experts * s.in_stride;
  kernels::DeviceExpertArgs args;
  args.x = normed_;
  args.used = spec_.experts.used;
  args.gate = stack(layer.expert_gate.front(), s.in, 0, s.in_stride);
  args.up = stack(layer.expert_up.front(), s.in, in_bytes, s.in_stride);
  args.down = stack(layer.expert_down.front(), s.down, 2 * in_bytes, s.down_stride);
  args.hidden = experts_to();
  return args;
}

void DeviceForward::streamed_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  Streaming& s = streaming_;
  ASSERT(s.layers[s.next_to_use] == &layer, "layer {} of a step's streamed ones", s.next_to_use);
  const auto slot = static_cast<int32_t>(s.next_to_use++ % kLayersAhead);
  shared_experts(layer, rows);
  device_.await_brought(slot);
  kernels::DeviceExpertArgs args =
      experts_in(layer, {stream_storage_.data() + slot * layer_room(), experts_brought()});
  args.rows = rows;
  args.ids = expert_ids_ + at;
  args.weights = expert_weights_ + at;
  args.slots = slots_on_card();
  device_.experts(args);
  bring_next();
}

}  // namespace sluice::model
