// Experts of host layers that recorded steps take over the link, each for one layer of one step:
// while the processor computes the others its memory has speed to spare, and so has the device.
// Over several cards each takes some, over its own link.
#include <cmath>

#include "model/device_forward.h"

namespace sluice::model {

uint32_t DeviceForward::pull_share_of(const MachineSpeeds& speeds) const {
  if (spec_.experts.count > kernels::kPickedExpertsMax) return 0;
  const double given = weights_.placement.link_share();
  const double share = given >= 0 ? given : pull_share(speeds, share_.cards);
  return static_cast<uint32_t>(std::lround(share * kernels::kPullShareOne));
}

core::Result<void> DeviceForward::make_pull_room(uint32_t share) {
  ExpertPulls& p = pulls_;
  p.storage = TRY(device_.allocate(kPulledMax * expert_room(), kernels::MemoryKind::kDevice));
  std::vector<const std::byte*> from;
  for (const LayerWeights* layer : host_layers_)
    for (size_t expert = 0; expert < static_cast<size_t>(spec_.experts.count); ++expert)
      for (const std::vector<Matrix>* matrices :
           {&layer->expert_gate, &layer->expert_up, &layer->expert_down})
        from.push_back((*matrices)[expert].data);
  const auto bytes = std::ssize(from) * int64_t{sizeof(from.front())};
  p.from = TRY(device_.allocate(bytes, kernels::MemoryKind::kDevice));
  device_.upload(p.from.data(), reinterpret_cast<const std::byte*>(from.data()), bytes);
  p.share = share;
  return {};
}

core::Result<void> DeviceForward::make_pulls(const MachineSpeeds& speeds) {
  if (!share_.is_first() || adopted_.bytes() == 0) return {};
  const uint32_t share = pull_share_of(speeds);
  if (share == 0) return {};
  core::Result<void> made = {};
  on_cards([&](DeviceForward& card) {
    if (made.ok()) made = card.make_pull_room(share);
  });
  if (made.ok() || weights_.placement.link_share() > 0) return made;
  // Nobody asked for it: where it has no room the processor has all of them.
  on_cards([](DeviceForward& card) {
    card.pulls_.storage = {};
    card.pulls_.share = 0;
  });
  return {};
}

// What of the choices of these rows is the host's.
void DeviceForward::pick_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  device_.pick({.ids = expert_ids_ + at,
                .rows = rows,
                .used = spec_.experts.used,
                .experts = spec_.experts.count,
                .slots = slots_on_device(layer, Slots::kOfAllCards),
                .share = pulls_.share,
                .room = kPulledMax,
                .card = share_.card,
                .cards = share_.cards,
                .host_ids = pulls_.host_ids,
                .taken = pulls_.taken,
                .slot_of = pulls_.slot_of});
}

void DeviceForward::pulled_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  if (pulls_.share == 0) return;
  kernels::DeviceExpertArgs args = experts_in(layer, {pulls_.storage.data(), kPulledMax});
  args.rows = rows;
  args.ids = expert_ids_ + at;
  args.weights = expert_weights_ + at;
  args.slots = pulls_.slot_of;
  const auto stack = [](const kernels::DeviceStack& to, kernels::PackedLayout layout) {
    return kernels::PulledStack{layout, to.first.outputs, to.first.inputs,
                                const_cast<std::byte*>(to.first.data), to.stride_bytes};
  };
  const auto layers_before = static_cast<int64_t>(host_layer_of(layer));
  device_.pull({.taken = pulls_.taken,
                .from = reinterpret_cast<const std::byte* const*>(pulls_.from.data()) +
                        layers_before * spec_.experts.count * kernels::kPulledStacks,
                .stacks = {stack(args.gate, streaming_.in), stack(args.up, streaming_.in),
                           stack(args.down, streaming_.down)}});
  device_.experts(args);
  end_part(QueuePart::kPulled);
}

// On a card that hands nothing over.
void DeviceForward::other_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  resident_experts(layer, at, rows);
  if (pulls_.share == 0) return;
  pick_experts(layer, at, rows);
  pulled_experts(layer, at, rows);
}

}  // namespace sluice::model
