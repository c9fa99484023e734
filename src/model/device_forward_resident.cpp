// Experts of host layers that a device has besides, in recorded steps: the queue adds theirs while
// the host has the others. The host's copy stays; between steps experts are exchanged for those
// that are used more, one of every layer at a time, copied while steps go on.
//
// Over several cards each has as many of a layer as the others, whichever they are: a run of the
// layer's slots, which the first one deals out.
#include <algorithm>

#include "core/math.h"
#include "model/device_forward.h"

namespace sluice::model {
namespace {

constexpr int32_t kBringSlot = kernels::kBringSlots - 1;  // others are for prompts

}  // namespace

// On this card.
int32_t DeviceForward::residents_of(size_t host_layer) const {
  const int32_t number = number_of(*host_layers_[host_layer]);
  return core::div_ceil(weights_.placement.residents(number, spec_.experts.count), share_.cards);
}

bool DeviceForward::wants_residents() const {
  for (size_t i = 0; i < host_layers_.size(); ++i)
    if (residents_of(i) > 0) return true;
  return false;
}

core::Result<void> DeviceForward::make_resident_rooms() {
  ExpertResidents& r = residents_;
  int64_t experts = 0;
  for (size_t i = 0; i < host_layers_.size(); ++i) experts += residents_of(i);
  const int64_t slot_bytes =
      (share_.is_whole() ? 1 : 2) * slots_of_layers() * int64_t{sizeof(int32_t)};
  r.storage = TRY(device_.allocate(experts * expert_room() + 2 * streaming_.staging_bytes,
                                   kernels::MemoryKind::kDevice));
  r.slots = TRY(device_.allocate(slot_bytes, kernels::MemoryKind::kDevice));
  r.sent = TRY(device_.allocate(slot_bytes, kernels::MemoryKind::kPinned));
  std::byte* room = r.storage.data();
  for (size_t i = 0; i < host_layers_.size(); ++i) {
    r.rooms.push_back({room, residents_of(i)});
    room += residents_of(i) * expert_room();
  }
  return {};
}

core::Result<void> DeviceForward::make_residents() {
  if (!share_.is_first() || !wants_residents()) return {};
  if (adopted_.bytes() == 0) return core::unsupported("resident experts: {}", streaming_text());
  TRY(make_resident_rooms());
  for (DeviceForward* card : other_cards_) TRY(card->make_resident_rooms());
  ExpertResidents& r = residents_;
  r.coming.resize(host_layers_.size());
  for (size_t i = 0; i < host_layers_.size(); ++i) {
    r.caches.emplace_back(
        spec_.experts.count, share_.cards * residents_of(i),
        weights_.placement.named_residents(number_of(*host_layers_[i]), spec_.experts.count),
        share_.cards);
    const std::span<const int32_t> slots = r.caches.back().slots_of();
    on_cards([](DeviceForward& card) { card.streaming_.matrices.clear(); });
    for (size_t expert = 0; expert < slots.size(); ++expert)
      if (slots[expert] >= 0) add_resident(i, expert, slots[expert]);
    on_cards([](DeviceForward& card) { card.bring_residents(); });
  }
  send_slots();
  on_cards([](DeviceForward& card) {
    card.device_.await_brought(kBringSlot);
    card.device_.wait();
  });
  return {};
}

// To the streaming_.matrices of the card that has the slot.
void DeviceForward::add_resident(size_t host_layer, size_t expert, int32_t slot) {
  const int32_t each = residents_of(host_layer);
  on_cards([&](DeviceForward& card) {
    if (slot / each == card.share_.card)
      card.add_expert(*host_layers_[host_layer], expert, card.residents_.rooms[host_layer],
                      slot % each);
  });
}

// Of those on this card, or of all, which the cards choose alike by.
const int32_t* DeviceForward::slots_on_device(const LayerWeights& layer, Slots slots) const {
  if (residents_.rooms.empty()) return nullptr;
  const bool is_second = slots == Slots::kOfAllCards && !share_.is_whole();
  return reinterpret_cast<const int32_t*>(residents_.slots.data()) +
         (is_second ? slots_of_layers() : 0) +
         static_cast<int64_t>(host_layer_of(layer)) * spec_.experts.count;
}

void DeviceForward::resident_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  if (residents_.rooms.empty()) return;
  const StackRoom& room = residents_.rooms[host_layer_of(layer)];
  if (room.experts == 0) return;
  kernels::DeviceExpertArgs args = experts_in(layer, room);
  args.rows = rows;
  args.ids = expert_ids_ + at;
  args.weights = expert_weights_ + at;
  args.slots = slots_on_device(layer, Slots::kOfCard);
  device_.experts(args);
  end_part(QueuePart::kExperts);
}

void DeviceForward::send_slots() {
  on_cards([&](DeviceForward& card) {
    auto* to = reinterpret_cast<int32_t*>(card.residents_.sent.data());
    for (size_t i = 0; i < residents_.caches.size(); ++i) {
      const int32_t each = residents_of(i), first = card.share_.card * each;
      for (const int32_t slot : residents_.caches[i].slots_of())
        *to++ = slot >= first && slot < first + each ? slot - first : -1;
    }
    if (!share_.is_whole())
      for (const ExpertCache& cache : residents_.caches)
        to = std::copy(cache.slots_of().begin(), cache.slots_of().end(), to);
    const ExpertResidents& r = card.residents_;
    card.device_.send(r.slots.data(), r.sent.data(), r.sent.bytes());
  });
}

// streaming_.matrices.
void DeviceForward::bring_residents() {
  if (streaming_.matrices.empty()) return;
  device_.bring({.matrices = streaming_.matrices,
                 .staging = residents_.storage.data() + residents_.storage.bytes() -
                            2 * streaming_.staging_bytes,
                 .staging_bytes = streaming_.staging_bytes,
                 .slot = kBringSlot});
}

// Between two steps, none under way: what has come is used from now on, and the next ones set out.
// Those that leave are the host's before their places are written.
void DeviceForward::exchange_residents() {
  ExpertResidents& r = residents_;
  if (r.caches.empty()) return;
  bool has_come = true, is_changed = false;
  on_cards(
      [&](DeviceForward& card) { has_come = has_come && card.device_.has_brought(kBringSlot); });
  if (!has_come) return;
  on_cards([](DeviceForward& card) { card.streaming_.matrices.clear(); });
  for (size_t i = 0; i < r.caches.size(); ++i) {
    if (r.coming[i]) r.caches[i].arrive(*r.coming[i]);
    is_changed = is_changed || r.coming[i];
    r.coming[i] = r.caches[i].next_exchange();
    is_changed = is_changed || r.coming[i];
    if (r.coming[i]) add_resident(i, static_cast<size_t>(r.coming[i]->comes), r.coming[i]->slot);
  }
  if (is_changed) send_slots();
  on_cards([](DeviceForward& card) { card.bring_residents(); });
}

// Of a step that is not recorded: what prompts choose says what their answers will choose.
void DeviceForward::see_choices(const Shape& shape) {
  if (residents_.caches.empty()) return;
  const ExpertSpec& spec = spec_.experts;
  const auto layers = std::ssize(residents_.caches);
  const int64_t of_layer = shape.rows * spec.used;
  const int64_t layers_at_once = staging_.bytes() / (of_layer * int64_t{sizeof(int32_t)});
  ASSERT(layers_at_once > 0, "{} choices of a layer have no room", of_layer);
  const auto* ids = reinterpret_cast<const int32_t*>(staging_.data());
  for (int64_t first = 0; first < layers; first += layers_at_once) {
    const int64_t end = std::min(first + layers_at_once, layers);
    // What the routers have chosen for layer i, or what of it is for rows that go on.
    const auto each = [&](const auto& use) {
      for (int64_t i = first; i < end; ++i) {
        const int32_t number = number_of(*host_layers_[static_cast<size_t>(i)]);
        const int64_t rows = number + 1 < spec_.layers ? shape.rows : shape.last_rows;
        use(i, expert_ids_ + (number - spec.leading_dense) * of_layer, rows * spec.used);
      }
    };
    each([&](int64_t i, const int32_t* chosen, int64_t count) {
      device_.fetch(staging_.data() + (i - first) * of_layer * int64_t{sizeof(int32_t)},
                    reinterpret_cast<const std::byte*>(chosen), count * int64_t{sizeof(int32_t)});
    });
    device_.wait();
    each([&](int64_t i, const int32_t*, int64_t count) {
      residents_.caches[static_cast<size_t>(i)].see(
          {ids + (i - first) * of_layer, static_cast<size_t>(count)});
    });
  }
}

ResidentCounts DeviceForward::resident_counts() const {
  ResidentCounts counts = pulls_.counts;
  for (const ExpertCache& cache : residents_.caches) {
    counts.choices += cache.counts().choices;
    counts.hits += cache.counts().hits;
    counts.exchanges += cache.counts().exchanges;
  }
  return counts;
}

}  // namespace sluice::model
