// Several cards in one step. Each runs the layers with its own heads and columns (model/cards.h);
// the first one's host side queues them all, layer by layer. A layer has two sums over the cards.
// Each card writes its summand, all meet, and each adds all summands, in the cards' order, to its
// own residual stream: the streams are the same bits on all cards.
//
// The two sums of a layer have memory of their own. So one meeting a sum is enough: who overwrites
// a summand has met the others at the sum after, before which they had read it.
#include <cstring>

#include "model/device_forward.h"

namespace sluice::model {

kernels::DeviceProduct DeviceForward::summed_product(const Matrix& matrix, Sum sum,
                                                     float* to) const {
  return {matrix, share_.is_whole() ? to : summands_[sum]};
}

kernels::DeviceResult DeviceForward::summed_result() const {
  return share_.is_whole() ? kernels::DeviceResult::kAdd : kernels::DeviceResult::kStore;
}

// The numbers of the step, which the host has once. The other cards begin where the first one has
// sampled the step before.
void DeviceForward::send_to_cards(int64_t bytes) {
  if (other_cards_.empty()) return;
  device_.meet(other_devices_);
  for (DeviceForward* card : other_cards_) {
    card->device_.send(card->device_numbers_.data(), next_flight().storage.data(), bytes);
    card->prompts_ = prompts_;
  }
}

void DeviceForward::take_tokens(int64_t rows, const int32_t* from) {
  on_cards(
      [&](DeviceForward& card) { card.device_.take_sampled(card.on_device_.ids, rows, from); });
}

void DeviceForward::add_over_cards(Sum sum, int32_t number, int64_t rows) {
  if (other_cards_.empty()) return;
  kernels::DeviceSumArgs args{.rows = rows, .columns = spec_.hidden};
  on_cards([&](DeviceForward& card) {
    args.parts[static_cast<size_t>(args.part_count++)] = card.summands_[sum];
  });
  device_.meet(other_devices_);
  on_cards([&](DeviceForward& card) {
    args.to = card.going_on_;
    const LayerWeights& layer = card.layer_of(number);
    args.bias = sum == kAttentionSum ? layer.attention_output_bias : nullptr;
    card.device_.sum(args);
  });
  end_part(QueuePart::kSums);
}

// Where somebody looks at the stream, those of all cards are compared.
void DeviceForward::expect_same_streams(std::span<const float> values) {
  std::vector<float> others(values.size());
  for (DeviceForward* card : other_cards_) {
    card->download(others.data(), card->going_on_, std::ssize(others));
    const bool are_same = std::memcmp(others.data(), values.data(), values.size_bytes()) == 0;
    ASSERT(are_same, "card {} of {} has another residual stream", card->share_.card, share_.cards);
  }
}

const int32_t* DeviceForward::slots_on_card() const {
  return share_.is_whole() ? nullptr : card_slots_;
}

void DeviceForward::upload_slots_on_card() {
  if (share_.is_whole() || spec_.experts.count == 0) return;
  const core::Range members = share_.of(spec_.experts.count);
  std::vector<int32_t> slots(static_cast<size_t>(spec_.experts.count), -1);
  for (int64_t i = members.begin; i < members.end; ++i)
    slots[static_cast<size_t>(i)] = static_cast<int32_t>(i - members.begin);
  device_.upload(reinterpret_cast<std::byte*>(card_slots_),
                 reinterpret_cast<const std::byte*>(slots.data()),
                 std::ssize(slots) * int64_t{sizeof(int32_t)});
}

}  // namespace sluice::model
