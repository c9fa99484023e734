// Which replica has computed which prefix: a bounded table of block hashes. A block's hash covers
// all blocks before it (contract/block_hash.h), so a prompt is a chain, and the first block that a
// replica does not have ends what it can reuse.
//
// Two kinds of knowledge: guessed, when a request is sent (it will have the blocks soon; dies
// kTtlNs after its last use), and said, by the engine's own events (lives until the engine says
// removed). Sets of eight entries; a new block takes the place of the longest unused of its set, so
// memory is bounded without a sweep. Any thread; a lock per 1/64 of the sets, held for one set.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::gateway {

// A replica's number in an index, from PrefixIndex::slot_of.
struct ReplicaSlot {
  int32_t value = -1;  // -1: none free, its prefixes are not known
};

// What an engine says of its pages: all that there are, or removed and added since its last news.
struct PageNews {
  enum class Kind : uint8_t { kChanges, kSnapshot } kind = Kind::kChanges;
  std::string_view epoch;  // of the engine's process
  uint64_t sequence = 0;   // rises within an epoch
  std::span<const uint64_t> added;
  std::span<const uint64_t> removed;
};

class PrefixIndex {
 public:
  static constexpr int kReplicasMax = 64;
  static constexpr int64_t kTtlNs = 180'000'000'000;

  explicit PrefixIndex(int64_t blocks_max);  // rounded up to a power of two; 32 bytes each
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The slot of a replica id, taken at its first use. release() frees it and forgets its blocks.
  ReplicaSlot slot_of(std::string_view replica_id);
  void release(std::string_view replica_id);

  // Leading blocks of the chain that each replica has: blocks[slot], 0 where none.
  void match(std::span<const uint64_t> chain, int64_t now_ns,
             std::span<int32_t, kReplicasMax> blocks) const;

  // A request with this prompt was sent there.
  void guess(ReplicaSlot slot, std::span<const uint64_t> chain, int64_t now_ns);

  // The engine's events, in their order. False: changes without what they follow (another epoch, a
  // sequence that falls); what the engine had said is forgotten, and the caller asks for a
  // snapshot.
  [[nodiscard]] bool on_pages(ReplicaSlot slot, const PageNews& news, int64_t now_ns);
  void forget(ReplicaSlot slot);  // all that is known of it: restarted, flushed, gone

  int64_t blocks() const;  // entries in use, for metrics; reads the whole table
  int64_t blocks_max() const { return blocks_max_; }

 private:
  static constexpr int kWays = 8;
  static constexpr int kLocks = 64;
  struct Entry {
    uint64_t hash = 0;
    uint64_t guessed = 0;  // by slot
    uint64_t said = 0;
    int64_t used_ns = 0;

    bool known() const { return (guessed | said) != 0; }
    bool live_guess(int64_t now_ns) const { return now_ns - used_ns < kTtlNs; }
    uint64_t holders(int64_t now_ns) const { return said | (live_guess(now_ns) ? guessed : 0); }
  };
  size_t set_of(uint64_t hash) const;
  std::mutex& lock_of(size_t set) const;
  Entry* find(uint64_t hash) const;
  Entry* find_or_take(uint64_t hash);

  int64_t blocks_max_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<std::mutex[]> locks_;
  struct Slot {
    std::string replica_id;  // "" free
    std::string epoch;       // "" nothing said yet
    uint64_t sequence = 0;
  };
  bool follows(ReplicaSlot slot, const PageNews& news);

  mutable std::mutex slots_lock_;
  std::vector<Slot> slots_;
};

// The chain of a prompt that is not tokenised: full blocks of kByteBlock bytes.
inline constexpr int64_t kByteBlock = 256;
inline constexpr int64_t kByteBlockTokens = kByteBlock / 4;  // about
void append_byte_blocks(uint64_t name_space, std::string_view prompt, std::vector<uint64_t>* chain);

}  // namespace sluice::gateway
