#include "tokenizer/merge_table.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "core/assert.h"

namespace sluice::tokenizer {
namespace {

// Up to here a scan for the least rank is faster than a heap.
constexpr size_t kShortWordSymbols = 24;
constexpr uint32_t kNoLink = std::numeric_limits<uint32_t>::max();

constexpr uint64_t heap_entry(uint32_t rank, uint32_t link) {
  return static_cast<uint64_t>(rank) << 32 | link;
}

}  // namespace

void MergeTable::resize(uint64_t slots) {
  std::vector<Slot> old(slots);
  old.swap(slots_);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  filled_slots_ = 0;
  for (const Slot& s : old)
    if (s.key != kEmpty) place(s);
}

void MergeTable::place(Slot filled) {
  uint64_t slot = slot_of(filled.key);
  while (slots_[slot].key != kEmpty && slots_[slot].key != filled.key) slot = (slot + 1) & mask_;
  if (slots_[slot].key == kEmpty) ++filled_slots_;
  slots_[slot] = filled;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  ASSERT(left >= 0 && right >= 0, "merge of symbols {} and {}", left, right);
  if ((filled_slots_ + 1) * 2 > slots_.size()) resize(slots_.size() * 2);
  place({key_of(left, right), merge});
}

void WordMerger::merge(const MergeTable& table, std::vector<int32_t>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShortWordSymbols) {
    merge_short(table, symbols);
  } else {
    merge_long(table, symbols);
  }
}

void WordMerger::merge_short(const MergeTable& table, std::vector<int32_t>& symbols) {
  ranks_.resize(symbols.size() - 1);
  for (size_t i = 0; i < ranks_.size(); ++i) ranks_[i] = table.find(symbols[i], symbols[i + 1]);
  while (!ranks_.empty()) {
    const auto least =
        std::min_element(ranks_.begin(), ranks_.end(),
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (least->rank == Merge::kNone) return;
    const auto i = static_cast<size_t>(least - ranks_.begin());
    symbols[i] = least->merged;
    symbols.erase(symbols.begin() + static_cast<int64_t>(i) + 1);
    ranks_.erase(least);
    if (i > 0) ranks_[i - 1] = table.find(symbols[i - 1], symbols[i]);
    if (i < ranks_.size()) ranks_[i] = table.find(symbols[i], symbols[i + 1]);
  }
}

void WordMerger::link_all(const MergeTable& table, const std::vector<int32_t>& symbols) {
  const auto count = static_cast<uint32_t>(symbols.size());
  links_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const bool is_last = i + 1 == count;
    links_[i] = {.previous = i == 0 ? kNoLink : i - 1,
                 .next = is_last ? kNoLink : i + 1,
                 .rank = is_last ? Merge::kNone : table.find(symbols[i], symbols[i + 1]).rank};
  }
  heap_.clear();
  heap_.reserve(count);
  fill_heap();
}

void WordMerger::fill_heap() {
  heap_.clear();
  for (uint32_t i = 0; i != kNoLink; i = links_[i].next)
    if (links_[i].rank != Merge::kNone) heap_.push_back(heap_entry(links_[i].rank, i));
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void WordMerger::push(const MergeTable& table, const std::vector<int32_t>& symbols, uint32_t link) {
  Link& l = links_[link];
  l.rank = l.next == kNoLink ? Merge::kNone : table.find(symbols[link], symbols[l.next]).rank;
  if (l.rank == Merge::kNone) return;
  if (heap_.size() == links_.size()) {
    fill_heap();  // drops the entries that do not hold: more room than before, as links only go
    return;
  }
  heap_.push_back(heap_entry(l.rank, link));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void WordMerger::merge_long(const MergeTable& table, std::vector<int32_t>& symbols) {
  ASSERT(symbols.size() < kNoLink, "a word of {} symbols", symbols.size());
  link_all(table, symbols);
  while (!heap_.empty()) {
    const uint64_t least = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    const auto at = static_cast<uint32_t>(least);
    Link& left = links_[at];
    // Entries are not taken back when their pair changes: the link knows the rank that holds.
    if (left.rank != least >> 32) continue;
    Link& right = links_[left.next];
    symbols[at] = table.find(symbols[at], symbols[left.next]).merged;
    left.next = right.next;
    right.rank = Merge::kNone;
    if (left.next != kNoLink) links_[left.next].previous = at;
    push(table, symbols, at);
    if (left.previous != kNoLink) push(table, symbols, left.previous);
  }

  size_t count = 0;  // a link never stands before the place that its symbol gets
  for (uint32_t i = 0; i != kNoLink; i = links_[i].next) symbols[count++] = symbols[i];
  symbols.resize(count);
  if (links_.capacity() > kScratchSymbolsMax) {
    links_ = std::vector<Link>();  // = {} would keep the memory
    heap_ = std::vector<uint64_t>();
  }
}

int64_t WordMerger::scratch_bytes() const {
  return static_cast<int64_t>(links_.capacity() * sizeof(Link) +
                              heap_.capacity() * sizeof(uint64_t));
}

}  // namespace sluice::tokenizer
