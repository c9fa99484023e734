// Byte-pair merging (Sennrich, Haddow, Birch 2016): of all neighbouring pairs in a word, the one
// with the lowest rank is joined, the leftmost of equals first, until no pair has a rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace sluice::tokenizer {

// Symbols for which working memory is kept between words.
inline constexpr size_t kScratchSymbolsMax = 1 << 16;

// Ranks of equal value are allowed (SentencePiece scores).
struct Merge {
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  uint32_t rank = kNone;
  int32_t merged = -1;
};

// (left, right) -> Merge: open addressing, at most half full, 16 bytes a slot.
class MergeTable {
 public:
  MergeTable() { resize(2); }

  void insert(int32_t left, int32_t right, Merge merge);  // the last of a pair stays
  // rank kNone where the pair does not merge. Negative symbols merge with nothing.
  Merge find(int32_t left, int32_t right) const {
    for (uint64_t slot = slot_of(key_of(left, right));; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key_of(left, right)) return slots_[slot].merge;
      if (slots_[slot].key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = std::numeric_limits<uint64_t>::max();
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Fibonacci hashing: the top bits of the product.
  uint64_t slot_of(uint64_t key) const { return (key * 0x9e3779b97f4a7c15ull) >> shift_; }

  void place(Slot filled);
  void resize(uint64_t slots);  // a power of two

  std::vector<Slot> slots_;
  uint64_t filled_slots_ = 0;
  uint64_t mask_ = 0;
  int shift_ = 0;
};

// Merges words; keeps its working memory between words, that of long ones only while it merges.
class WordMerger {
  // Where a symbol of a long word stands and the rank of its merge with the one after it.
  struct Link {
    uint32_t previous;
    uint32_t next;
    uint32_t rank;
  };

 public:
  // Working memory for each symbol of the longest word, beside the symbols.
  static constexpr int64_t kScratchBytesPerSymbol = sizeof(Link) + sizeof(uint64_t);

  // In place; n log n in the number of symbols (under 2^32).
  void merge(const MergeTable& table, std::vector<int32_t>& symbols);

  // What it keeps for long words.
  int64_t scratch_bytes() const;

 private:
  void merge_short(const MergeTable& table, std::vector<int32_t>& symbols);
  void merge_long(const MergeTable& table, std::vector<int32_t>& symbols);
  void link_all(const MergeTable& table, const std::vector<int32_t>& symbols);
  // Fills the heap from the links that hold: all but those that a merge took up.
  void fill_heap();
  // The rank of the link, and its place in the heap.
  void push(const MergeTable& table, const std::vector<int32_t>& symbols, uint32_t link);

  std::vector<Merge> ranks_;
  std::vector<Link> links_;
  std::vector<uint64_t> heap_;  // rank in the upper half, link in the lower; the least first
};

}  // namespace sluice::tokenizer
