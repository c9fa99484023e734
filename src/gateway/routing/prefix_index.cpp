#include "gateway/routing/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "contract/block_hash.h"
#include "core/assert.h"

namespace sluice::gateway {
namespace {

uint64_t bit_of(ReplicaSlot slot) {
  return uint64_t{1} << slot.value;
}

}  // namespace

PrefixIndex::PrefixIndex(int64_t blocks_max)
    : blocks_max_(static_cast<int64_t>(
          std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(blocks_max, kWays * kLocks))))),
      entries_(std::make_unique<Entry[]>(static_cast<size_t>(blocks_max_))),
      locks_(std::make_unique<std::mutex[]>(kLocks)) {}

PrefixIndex::~PrefixIndex() = default;

ReplicaSlot PrefixIndex::slot_of(std::string_view replica_id) {
  ASSERT(!replica_id.empty(), "a replica without an id");
  std::lock_guard lock(slots_lock_);
  const auto known = std::ranges::find(slots_, replica_id, &Slot::replica_id);
  if (known != slots_.end()) return {static_cast<int32_t>(known - slots_.begin())};
  const auto free = std::ranges::find(slots_, "", &Slot::replica_id);
  if (free != slots_.end()) {
    free->replica_id = replica_id;
    return {static_cast<int32_t>(free - slots_.begin())};
  }
  if (slots_.size() == kReplicasMax) return {};
  slots_.push_back({std::string(replica_id), "", 0});
  return {static_cast<int32_t>(slots_.size()) - 1};
}

void PrefixIndex::release(std::string_view replica_id) {
  std::lock_guard lock(slots_lock_);
  const auto known = std::ranges::find(slots_, replica_id, &Slot::replica_id);
  if (known == slots_.end()) return;
  forget({static_cast<int32_t>(known - slots_.begin())});
  *known = Slot{};
}

// ---- entries ------------------------------------------------------------------------------------

size_t PrefixIndex::set_of(uint64_t hash) const {
  return static_cast<size_t>(hash) & (static_cast<size_t>(blocks_max_ / kWays) - 1);
}

std::mutex& PrefixIndex::lock_of(size_t set) const {
  return locks_[set % kLocks];
}

PrefixIndex::Entry* PrefixIndex::find(uint64_t hash) const {
  Entry* const set = &entries_[set_of(hash) * kWays];
  for (int way = 0; way < kWays; ++way)
    if (set[way].hash == hash && set[way].known()) return &set[way];
  return nullptr;
}

PrefixIndex::Entry* PrefixIndex::find_or_take(uint64_t hash) {
  if (Entry* const entry = find(hash)) return entry;
  Entry* const set = &entries_[set_of(hash) * kWays];
  Entry* oldest = set;
  for (int way = 0; way < kWays; ++way) {
    if (!set[way].known()) {
      oldest = &set[way];
      break;
    }
    if (set[way].used_ns < oldest->used_ns) oldest = &set[way];
  }
  *oldest = Entry{};
  oldest->hash = hash;
  return oldest;
}

void PrefixIndex::match(std::span<const uint64_t> chain, int64_t now_ns,
                        std::span<int32_t, kReplicasMax> blocks) const {
  std::ranges::fill(blocks, 0);
  uint64_t alive = ~uint64_t{0};
  for (size_t i = 0; i < chain.size() && alive != 0; ++i) {
    uint64_t have = 0;
    {
      std::lock_guard lock(lock_of(set_of(chain[i])));
      if (const Entry* const entry = find(chain[i])) have = entry->holders(now_ns);
    }
    alive &= have;
    for (uint64_t left = alive; left != 0; left &= left - 1)
      blocks[static_cast<size_t>(std::countr_zero(left))] = static_cast<int32_t>(i) + 1;
  }
}

void PrefixIndex::guess(ReplicaSlot slot, std::span<const uint64_t> chain, int64_t now_ns) {
  if (slot.value < 0) return;
  for (const uint64_t hash : chain) {
    std::lock_guard lock(lock_of(set_of(hash)));
    Entry* const entry = find_or_take(hash);
    entry->guessed = (entry->live_guess(now_ns) ? entry->guessed : 0) | bit_of(slot);
    entry->used_ns = now_ns;
  }
}

bool PrefixIndex::follows(ReplicaSlot slot, const PageNews& news) {
  std::lock_guard lock(slots_lock_);
  Slot& known = slots_[static_cast<size_t>(slot.value)];
  const bool follows = news.kind == PageNews::Kind::kSnapshot ||
                       (news.epoch == known.epoch && news.sequence >= known.sequence);
  known.epoch = follows ? news.epoch : "";
  known.sequence = news.sequence;
  return follows;
}

bool PrefixIndex::on_pages(ReplicaSlot slot, const PageNews& news, int64_t now_ns) {
  if (slot.value < 0) return true;
  const bool usable = follows(slot, news);
  if (!usable || news.kind == PageNews::Kind::kSnapshot) forget(slot);
  if (!usable) return false;
  for (const uint64_t hash : news.removed) {
    std::lock_guard lock(lock_of(set_of(hash)));
    if (Entry* const entry = find(hash)) {
      entry->said &= ~bit_of(slot);
      entry->guessed &= ~bit_of(slot);
    }
  }
  for (const uint64_t hash : news.added) {
    std::lock_guard lock(lock_of(set_of(hash)));
    Entry* const entry = find_or_take(hash);
    entry->said |= bit_of(slot);
    entry->used_ns = now_ns;
  }
  return true;
}

void PrefixIndex::forget(ReplicaSlot slot) {
  if (slot.value < 0) return;
  for (size_t set = 0; set < static_cast<size_t>(blocks_max_ / kWays); ++set) {
    std::lock_guard lock(lock_of(set));
    for (int way = 0; way < kWays; ++way) {
      Entry& entry = entries_[set * kWays + static_cast<size_t>(way)];
      entry.said &= ~bit_of(slot);
      entry.guessed &= ~bit_of(slot);
    }
  }
}

int64_t PrefixIndex::blocks() const {
  int64_t count = 0;
  for (size_t set = 0; set < static_cast<size_t>(blocks_max_ / kWays); ++set) {
    std::lock_guard lock(lock_of(set));
    for (int way = 0; way < kWays; ++way)
      count += entries_[set * kWays + static_cast<size_t>(way)].known() ? 1 : 0;
  }
  return count;
}

void append_byte_blocks(uint64_t name_space, std::string_view prompt,
                        std::vector<uint64_t>* chain) {
  std::array<int32_t, kByteBlock / sizeof(int32_t)> block;
  uint64_t before = chain->empty() ? name_space : chain->back();
  for (; prompt.size() >= kByteBlock; prompt.remove_prefix(kByteBlock)) {
    std::memcpy(block.data(), prompt.data(), kByteBlock);
    before = contract::hash_page(before, block);
    chain->push_back(before);
  }
}

}  // namespace sluice::gateway
