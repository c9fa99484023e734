// The pages of one KV arena as numbers: who is free, and how many hold each of the others.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

namespace sluice::kv {

// A page of the arena: a fixed number of consecutive tokens' keys and values in all layers.
struct PageId {
  int32_t value = 0;
  auto operator<=>(const PageId&) const = default;
};

// A page is free, held by n ≥ 1 sequences, or held by none but not given back (the prefix cache
// keeps it). Allocates at construction only.
class PagePool {
 public:
  explicit PagePool(int64_t pages);

  // A free page, held once; none when no page is free.
  std::optional<PageId> take();

  void hold(PageId page);       // one holder more
  int32_t let_go(PageId page);  // one holder fewer; returns how many are left
  void give_back(PageId page);  // held by none, becomes free

  int32_t holders(PageId page) const { return at(page); }
  bool is_free(PageId page) const { return at(page) == kFree; }
  int64_t pages() const { return static_cast<int64_t>(holders_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t held_pages() const { return held_; }

 private:
  static constexpr int32_t kFree = -1;

  int32_t& at(PageId page) { return holders_[static_cast<size_t>(page.value)]; }
  const int32_t& at(PageId page) const { return holders_[static_cast<size_t>(page.value)]; }

  std::vector<int32_t> holders_;  // by page; kFree in the free list
  std::vector<PageId> free_;  // the last one is taken first: it is warm in the processor's cache
  int64_t held_ = 0;          // pages with at least one holder
};

}  // namespace sluice::kv
