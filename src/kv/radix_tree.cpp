#include "kv/radix_tree.h"

#include <algorithm>
#include <bit>

#include "core/assert.h"

namespace sluice::kv {

RadixTree::RadixTree(int64_t pages, int32_t page_tokens)
    : page_tokens_(page_tokens),
      nodes_(static_cast<size_t>(pages)),
      ids_(static_cast<size_t>(pages * page_tokens)),
      slots_(std::bit_ceil(static_cast<size_t>(2 * pages)), kNone) {
  ASSERT(page_tokens > 0, "{} tokens a page", page_tokens);
}

std::optional<PageId> RadixTree::find(const NodeKey& key) const {
  const int32_t parent = key.parent ? key.parent->value : kNone;
  for (size_t s = home(key.hash); slots_[s] != kNone; s = (s + 1) & (slots_.size() - 1)) {
    const PageId page{slots_[s]};
    const Node& n = node(page);
    if (n.hash == key.hash && n.name_space == key.name_space && n.parent == parent &&
        std::equal(key.ids.begin(), key.ids.end(), ids(page)))
      return page;
  }
  return std::nullopt;
}

void RadixTree::insert(const NodeKey& key, PageId page) {
  ASSERT(static_cast<int32_t>(key.ids.size()) == page_tokens_, "{} ids for a page of {}",
         key.ids.size(), page_tokens_);
  ASSERT(!contains(page), "page {} is a node already", page.value);
  Node& n = node(page);
  n = {.hash = key.hash,
       .name_space = key.name_space,
       .parent = key.parent ? key.parent->value : kNone,
       .in_tree = true};
  if (key.parent) {
    ASSERT(contains(*key.parent), "parent {} is no node", key.parent->value);
    ++node(*key.parent).children;
  }
  std::copy(key.ids.begin(), key.ids.end(), ids(page));
  size_t s = home(key.hash);
  while (slots_[s] != kNone) s = (s + 1) & (slots_.size() - 1);
  slots_[s] = page.value;
}

void RadixTree::erase(PageId page) {
  Node& n = node(page);
  ASSERT(n.in_tree && !n.idle && n.children == 0, "page {}: in tree {}, idle {}, {} children",
         page.value, n.in_tree, n.idle, n.children);
  size_t s = home(n.hash);
  while (slots_[s] != page.value) s = (s + 1) & (slots_.size() - 1);
  empty_slot(s);
  if (n.parent != kNone) --node({n.parent}).children;
  n.in_tree = false;
}

// Moves later members of the run of full slots back, so that none is cut off from its home.
void RadixTree::empty_slot(size_t slot) {
  const size_t mask = slots_.size() - 1;
  for (size_t s = (slot + 1) & mask; slots_[s] != kNone; s = (s + 1) & mask) {
    const size_t wanted = home(node({slots_[s]}).hash);
    if (((s - wanted) & mask) < ((s - slot) & mask)) continue;
    slots_[slot] = slots_[s];
    slot = s;
  }
  slots_[slot] = kNone;
}

void RadixTree::make_idle(PageId page) {
  Node& n = node(page);
  ASSERT(n.in_tree && !n.idle, "page {}: in tree {}, idle {}", page.value, n.in_tree, n.idle);
  n.idle = true;
  n.older = newest_;
  n.newer = kNone;
  (newest_ == kNone ? oldest_ : node({newest_}).newer) = page.value;
  newest_ = page.value;
  ++idle_nodes_;
}

void RadixTree::revive(PageId page) {
  Node& n = node(page);
  ASSERT(n.idle, "page {} is not idle", page.value);
  n.idle = false;
  (n.older == kNone ? oldest_ : node({n.older}).newer) = n.newer;
  (n.newer == kNone ? newest_ : node({n.newer}).older) = n.older;
  --idle_nodes_;
}

std::optional<PageId> RadixTree::oldest_idle() const {
  if (oldest_ == kNone) return std::nullopt;
  return PageId{oldest_};
}

std::optional<PageId> RadixTree::parent(PageId page) const {
  if (node(page).parent == kNone) return std::nullopt;
  return PageId{node(page).parent};
}

}  // namespace sluice::kv
