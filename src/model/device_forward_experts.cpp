// The feed-forward part as a choice of experts, on a device; the shared experts are products of all
// rows.
#include <algorithm>

#include "model/device_forward.h"

namespace sluice::model {

using kernels::DeviceResult;

int64_t DeviceForward::place_experts(Placer placer) {
  const int64_t layers = spec_.layers - spec_.experts.leading_dense + std::ssize(weights_.drafts);
  const int64_t choices = layers * rows_max_ * spec_.experts.used;
  placer.place(&normed_, rows_max_ * spec_.hidden);
  placer.place(&expert_ids_, choices);
  placer.place(&expert_weights_, choices);
  if (!share_.is_whole()) placer.place(&card_slots_, spec_.experts.count);
  if (host_ != nullptr) {
    placer.place(&host_out_, rows_max_ * spec_.hidden);
    placer.place(&turns_, 1);
  }
  if (!host_layers_.empty()) {
    placer.place(&pulls_.host_ids, rows_max_ * spec_.experts.used);
    placer.place(&pulls_.taken, 1 + kPulledMax);
    placer.place(&pulls_.slot_of, spec_.experts.count);
    placer.place(&guesses_.normed, rows_max_ * spec_.hidden);
    placer.place(&guesses_.ids, rows_max_ * spec_.experts.used);
    placer.place(&guesses_.weights, rows_max_ * spec_.experts.used);
  }
  return placer.bytes();
}

void DeviceForward::limit_experts(kernels::DeviceLimits* limits) const {
  if (spec_.experts.count == 0) return;
  limits->experts = spec_.experts.count;
  limits->experts_used = spec_.experts.used;
  limits->expert_inputs = spec_.hidden;
  limits->expert_ffn = spec_.experts.ffn;
}

// Without what it leaves, and what it prefers.
kernels::DeviceRouteArgs DeviceForward::route_of(const LayerWeights& layer, const Shape& shape,
                                                 int64_t rows) const {
  return {.hidden = going_on_,
          .norm = layer.ffn_norm,
          .epsilon = spec_.norm_epsilon,
          .rows = rows,
          // A recorded step is padded with rows of nobody, and all of its rows go on.
          .tables = shape.is_recorded ? on_device_.tables : nullptr,
          .router = reinterpret_cast<const float*>(layer.router.data),
          .bias = layer.router_bias,
          .inputs = spec_.hidden,
          .experts = spec_.experts.count,
          .used = spec_.experts.used,
          .rule = spec_.experts.rule};
}

void DeviceForward::expert_block(const LayerWeights& layer, int32_t number, const Shape& shape,
                                 int64_t rows) {
  const ExpertSpec& spec = spec_.experts;
  const int64_t at = (number - spec.leading_dense) * shape.rows * spec.used;
  const bool is_host = is_on_host(number);
  kernels::DeviceRouteArgs route = route_of(layer, shape, rows);
  if (is_host && shape.is_recorded) route.slots = slots_on_device(layer, Slots::kOfAllCards);
  route.preference = hybrid_.preference;
  route.normed = normed_;
  route.ids = expert_ids_ + at;
  route.weights = expert_weights_ + at;
  device_.route(route);
  end_part(QueuePart::kRouter);
  if (is_host) {
    if (!shape.is_recorded && is_streamed(rows)) return streamed_experts(layer, at, rows);
    if (!share_.is_first()) {
      shared_experts(layer, rows);
      return shape.is_recorded ? other_experts(layer, at, rows) : void();
    }
    return shape.is_recorded ? post_experts(layer, at, shape) : host_experts(layer, at, rows);
  }
  shared_experts(layer, rows);
  device_.experts({.x = normed_,
                   .rows = rows,
                   .used = spec.used,
                   .ids = expert_ids_ + at,
                   .weights = expert_weights_ + at,
                   .slots = slots_on_card(),
                   .gate = stack_of(layer.expert_gate),
                   .up = stack_of(layer.expert_up),
                   .down = stack_of(layer.expert_down),
                   .hidden = experts_to()});
  end_part(QueuePart::kExperts);
}

void DeviceForward::shared_experts(const LayerWeights& layer, int64_t rows) {
  if (spec_.experts.shared_ffn == 0) {
    if (!share_.is_whole()) device_.clear(summands_[kFfnSum], rows * spec_.hidden);
    return;
  }
  device_.linear({.x = normed_,
                  .rows = rows,
                  .products = {{{layer.shared_gate, nullptr}, {layer.shared_up, nullptr}}},
                  .product_count = 2,
                  .result = DeviceResult::kSiluMul,
                  .activated = activated_});
  device_.linear({.x = activated_,
                  .rows = rows,
                  .products = {{summed_product(layer.shared_down, kFfnSum, going_on_)}},
                  .result = summed_result()});
  end_part(QueuePart::kSharedExperts);
}

// What the layers' routers left, for who looks at it: of as many layers with one wait as the
// staging memory has room for.
void DeviceForward::report_routing(const StepBatch& batch, const Shape& shape) {
  const ExpertSpec& spec = spec_.experts;
  if (batch.routing_observer == nullptr || spec.count == 0) return;
  const int64_t of_layer = shape.rows * spec.used;
  const int64_t layers_max =
      staging_.bytes() / (of_layer * static_cast<int64_t>(sizeof(int32_t) + sizeof(float)));
  ASSERT(layers_max > 0, "{} choices of a layer have no room", of_layer);
  for (int64_t first = spec.leading_dense; first < spec_.layers; first += layers_max) {
    const int64_t layers = std::min(layers_max, spec_.layers - first);
    const int64_t at = (first - spec.leading_dense) * of_layer, count = layers * of_layer;
    const auto* ids = reinterpret_cast<const int32_t*>(staging_.data());
    const auto* weights = reinterpret_cast<const float*>(ids + count);
    const int64_t bytes = count * int64_t{sizeof(int32_t)};
    device_.fetch(staging_.data(), reinterpret_cast<const std::byte*>(expert_ids_ + at), bytes);
    device_.fetch(staging_.data() + bytes, reinterpret_cast<const std::byte*>(expert_weights_ + at),
                  bytes);
    device_.wait();
    for (int64_t i = 0; i < layers; ++i) {
      const auto layer = static_cast<int32_t>(first + i);
      const bool is_last = layer + 1 == spec_.layers;
      const bool are_less = is_last && batch.hidden == KeepHidden::kNo;
      const size_t rows = are_less ? batch.logit_rows.size() : batch.token_ids.size();
      if (rows == 0) return;
      const size_t choices = rows * static_cast<size_t>(spec.used);
      (*batch.routing_observer)(layer, {ids + i * of_layer, choices},
                                {weights + i * of_layer, choices});
    }
  }
}

}  // namespace sluice::model
