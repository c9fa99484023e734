#include "kv/page_cache.h"

#include <algorithm>

#include "core/assert.h"

namespace sluice::kv {

PageCache::PageCache(int64_t pages, int32_t page_tokens) : pool_(pages), tree_(pages, page_tokens) {
  // A step publishes a page at most once, and evicts one for each that it takes.
  changes_.reserve(static_cast<size_t>(2 * pages));
}

std::optional<PageId> PageCache::take() {
  if (pool_.free_pages() == 0) {
    const std::optional<PageId> oldest = tree_.oldest_idle();
    if (!oldest) return std::nullopt;
    evict(*oldest);
  }
  return pool_.take();
}

PrefixMatch PageCache::match(const PrefixKey& key, int64_t pages_max) const {
  PrefixMatch found;
  const int64_t limit = std::min(pages_max, static_cast<int64_t>(key.page_hashes.size()));
  std::optional<PageId> parent;
  while (found.pages < limit) {
    const std::optional<PageId> page = tree_.find(node_key(key, found.pages, parent));
    if (!page) break;
    if (tree_.is_idle(*page)) ++found.idle_pages;
    ++found.pages;
    parent = page;
  }
  return found;
}

void PageCache::acquire(const PrefixKey& key, int64_t pages, std::vector<PageId>* out) {
  std::optional<PageId> parent;
  for (int64_t i = 0; i < pages; ++i) {
    parent = tree_.find(node_key(key, i, parent));
    ASSERT(parent.has_value(), "page {} of {} is not cached", i, pages);
    hold(*parent);
    out->push_back(*parent);
  }
}

void PageCache::publish(const PrefixKey& key, int64_t index, std::span<PageId> held) {
  const auto i = static_cast<size_t>(index);
  ASSERT(i < held.size() && i < key.page_hashes.size(), "page {} of {} held, {} hashed", i,
         held.size(), key.page_hashes.size());
  if (tree_.contains(held[i])) return;
  std::optional<PageId> parent;
  if (i > 0) parent = held[i - 1];
  const NodeKey node = node_key(key, index, parent);
  const std::optional<PageId> same = tree_.find(node);
  if (!same) {
    tree_.insert(node, held[i]);
    changes_.push_back({node.hash, PageChange::Kind::kAdded});
    return;
  }
  hold(*same);
  const int32_t left = pool_.let_go(held[i]);
  ASSERT(left == 0, "page {} was shared before it was published", held[i].value);
  pool_.give_back(held[i]);
  held[i] = *same;
}

void PageCache::release(std::span<const PageId> held) {
  // The last page first: a node must not become idle before its descendants (radix_tree.h).
  for (size_t i = held.size(); i-- > 0;) {
    if (pool_.let_go(held[i]) > 0) continue;
    if (tree_.contains(held[i]))
      tree_.make_idle(held[i]);
    else
      pool_.give_back(held[i]);
  }
}

void PageCache::flush() {
  while (const std::optional<PageId> oldest = tree_.oldest_idle()) evict(*oldest);
}

PageCounts PageCache::counts() const {
  return {.free = pool_.free_pages(), .cached = tree_.idle_nodes(), .used = pool_.held_pages()};
}

void PageCache::check_sum() const {
  const PageCounts c = counts();
  ASSERT(c.free + c.cached + c.used == pages(), "{} free + {} cached + {} used of {} pages", c.free,
         c.cached, c.used, pages());
}

void PageCache::check() const {
  check_sum();
  std::vector<int32_t> children(static_cast<size_t>(pages()), 0);
  PageCounts c;
  for (int32_t p = 0; p < pages(); ++p) {
    const PageId page{p};
    const bool free = pool_.is_free(page);
    const bool idle = tree_.is_idle(page) && tree_.contains(page);
    const bool used = !free && pool_.holders(page) > 0;
    ASSERT(free + idle + used == 1, "page {}: free {}, idle {}, used {}", p, free, idle, used);
    c.free += free;
    c.cached += idle;
    c.used += used;
    const std::optional<PageId> parent = tree_.contains(page) ? tree_.parent(page) : std::nullopt;
    if (!parent) continue;
    ++children[static_cast<size_t>(parent->value)];
    ASSERT(pool_.holders(*parent) >= pool_.holders(page), "page {}: {} holders, its parent has {}",
           p, pool_.holders(page), pool_.holders(*parent));
  }
  for (int32_t p = 0; p < pages(); ++p)
    ASSERT(!tree_.contains({p}) || tree_.children({p}) == children[static_cast<size_t>(p)],
           "page {}: {} children counted, {} known", p, children[static_cast<size_t>(p)],
           tree_.children({p}));
  const PageCounts known = counts();
  ASSERT(c.free == known.free && c.cached == known.cached && c.used == known.used,
         "counted {}/{}/{}, known {}/{}/{}", c.free, c.cached, c.used, known.free, known.cached,
         known.used);
}

NodeKey PageCache::node_key(const PrefixKey& key, int64_t index,
                            std::optional<PageId> parent) const {
  const auto width = static_cast<size_t>(page_tokens());
  const auto i = static_cast<size_t>(index);
  return {.hash = key.page_hashes[i],
          .name_space = key.name_space,
          .parent = parent,
          .ids = key.ids.subspan(i * width, width)};
}

void PageCache::hold(PageId page) {
  if (tree_.is_idle(page)) tree_.revive(page);
  pool_.hold(page);
}

void PageCache::evict(PageId page) {
  tree_.revive(page);
  tree_.erase(page);
  changes_.push_back({tree_.hash(page), PageChange::Kind::kRemoved});
  pool_.give_back(page);
}

}  // namespace sluice::kv
