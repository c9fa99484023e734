// Experts of host layers that recorded steps take over the link, each for one layer of one step:
// while the processor computes the others its memory has speed to spare, and so has the device.
// Over several cards each takes some, over its own link.
#include <algorithm>
#include <cmath>

#include "core/math.h"
#include "model/device_forward.h"

namespace sluice::model {

uint32_t DeviceForward::pull_share_of(const MachineSpeeds& speeds) const {
  if (spec_.experts.count > kernels::kPickedExpertsMax) return 0;
  const double given = weights_.placement.link_share();
  const double share = given >= 0 ? given : pull_share(speeds);
  return static_cast<uint32_t>(std::lround(share * kernels::kPullShareOne));
}

int32_t DeviceForward::pull_room() const {
  return static_cast<int32_t>(
      std::min<int64_t>(kPulledMax, core::div_ceil(spec_.experts.count, share_.cards)));
}

// Whether a layer of the host has experts that no card has.
bool DeviceForward::has_experts_to_pull() const {
  for (size_t i = 0; i < host_layers_.size(); ++i)
    if (share_.cards * residents_of(i) < spec_.experts.count) return true;
  return false;
}

core::Result<void> DeviceForward::make_pull_room() {
  ExpertPulls& p = pulls_;
  p.storage = TRY(device_.allocate(pull_room() * expert_room(), kernels::MemoryKind::kDevice));
  std::vector<const std::byte*> from;
  for (const LayerWeights* layer : host_layers_)
    for (size_t expert = 0; expert < static_cast<size_t>(spec_.experts.count); ++expert)
      for (const std::vector<Matrix>* matrices :
           {&layer->expert_gate, &layer->expert_up, &layer->expert_down})
        from.push_back((*matrices)[expert].data);
  const auto bytes = std::ssize(from) * int64_t{sizeof(from.front())};
  p.from = TRY(device_.allocate(bytes, kernels::MemoryKind::kDevice));
  device_.upload(p.from.data(), reinterpret_cast<const std::byte*>(from.data()), bytes);
  return {};
}

core::Result<void> DeviceForward::make_pull_rooms() {
  core::Result<void> made = {};
  on_cards([&](DeviceForward& card) {
    if (made.ok()) made = card.make_pull_room();
  });
  return made;
}

core::Result<void> DeviceForward::plan_pulls(const MachineSpeeds& speeds) {
  if (!share_.is_first() || host_layers_.empty() || is_deterministic_) return {};
  const bool is_wanted = weights_.placement.link_share() > 0;
  const auto within = [](const core::Error& error) {
    return error.within("experts over the link (link=… in --place)");
  };
  if (adopted_.bytes() == 0)
    return is_wanted ? within({core::ErrorCode::kUnsupported, streaming_text()})
                     : core::Result<void>();
  if (!has_experts_to_pull()) return {};
  on_cards([&](DeviceForward& card) { card.pulls_.share = pull_share_of(speeds); });
  if (!is_wanted) return {};
  if (const auto made = make_pull_rooms(); !made.ok()) return within(made.error());
  return {};
}

// Before the first step is recorded: KV has its room by then. Nobody asked for the share that
// follows from speeds: where it has no room the processor has all experts.
void DeviceForward::begin_pulls() {
  if (pulls_.share == 0 || pulls_.storage.bytes() > 0 || make_pull_rooms().ok()) return;
  on_cards([](DeviceForward& card) {
    card.pulls_.storage = {};
    card.pulls_.share = 0;
  });
}

// What of the choices of these rows is the host's.
void DeviceForward::pick_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  device_.pick({.ids = expert_ids_ + at,
                .rows = rows,
                .used = spec_.experts.used,
                .experts = spec_.experts.count,
                .slots = slots_on_device(layer, Slots::kOfAllCards),
                .share = pulls_.share,
                .room = pull_room(),
                .card = share_.card,
                .cards = share_.cards,
                .host_ids = pulls_.host_ids,
                .taken = pulls_.taken,
                .slot_of = pulls_.slot_of});
}

kernels::DeviceExpertArgs DeviceForward::pulled_args(const LayerWeights& layer, int64_t at,
                                                     int64_t rows) const {
  kernels::DeviceExpertArgs args = experts_in(layer, {pulls_.storage.data(), pull_room()});
  args.rows = rows;
  args.ids = expert_ids_ + at;
  args.weights = expert_weights_ + at;
  args.slots = pulls_.slot_of;
  return args;
}

// Picks, and starts to read over the link what this card takes.
void DeviceForward::pull_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  pick_experts(layer, at, rows);
  if (pulls_.share == 0) return;
  const kernels::DeviceExpertArgs args = pulled_args(layer, at, rows);
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
}

void DeviceForward::pulled_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  if (pulls_.share == 0) return;
  device_.await_pulled();
  device_.experts(pulled_args(layer, at, rows));
  end_part(QueuePart::kPulled);
}

// On a card that hands nothing over.
void DeviceForward::other_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  if (pulls_.share > 0) pull_experts(layer, at, rows);
  resident_experts(layer, at, rows);
  pulled_experts(layer, at, rows);
}

}  // namespace sluice::model
