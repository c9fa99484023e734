#include "kv/page_pool.h"

#include "core/assert.h"

namespace sluice::kv {

PagePool::PagePool(int64_t pages) : holders_(static_cast<size_t>(pages), kFree) {
  ASSERT(pages > 0 && pages <= INT32_MAX, "{} pages", pages);
  free_.reserve(holders_.size());
  for (int64_t p = pages - 1; p >= 0; --p) free_.push_back({static_cast<int32_t>(p)});
}

std::optional<PageId> PagePool::take() {
  if (free_.empty()) return std::nullopt;
  const PageId page = free_.back();
  free_.pop_back();
  at(page) = 1;
  ++held_;
  return page;
}

void PagePool::hold(PageId page) {
  ASSERT(at(page) >= 0, "page {} is free", page.value);
  if (at(page)++ == 0) ++held_;
}

int32_t PagePool::let_go(PageId page) {
  ASSERT(at(page) > 0, "page {} has {} holders", page.value, at(page));
  if (--at(page) == 0) --held_;
  return at(page);
}

void PagePool::give_back(PageId page) {
  ASSERT(at(page) == 0, "page {} has {} holders", page.value, at(page));
  at(page) = kFree;
  free_.push_back(page);
}

}  // namespace sluice::kv
