// The tree of prefixes whose keys and values are in pages. Every edge is one page's token ids, so
// a node is a page: the tree is an index over pages (a hash of the path leads to the node) and
// allocates nothing after construction. Idle nodes stand in one list, least recently used first.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/page_pool.h"

namespace sluice::kv {

// Where a page hangs in the tree and what it holds. The hash only finds candidates: a lookup
// compares namespace, parent and ids.
struct NodeKey {
  uint64_t hash = 0;             // contract::hash_page(...) of the whole path
  uint64_t name_space = 0;       // of weights, adapter, salt and KV format
  std::optional<PageId> parent;  // none: the first page of a sequence
  std::span<const int32_t> ids;  // page_tokens of them
};

class RadixTree {
 public:
  RadixTree(int64_t pages, int32_t page_tokens);

  std::optional<PageId> find(const NodeKey& key) const;
  void insert(const NodeKey& key, PageId page);  // key is not there, its parent is
  void erase(PageId page);                       // a leaf, not idle

  // Idle nodes may be evicted, oldest first. A node becomes idle after its idle descendants and is
  // revived before them: so no node stands in front of a descendant, and the oldest is a leaf.
  void make_idle(PageId page);
  void revive(PageId page);
  std::optional<PageId> oldest_idle() const;

  bool contains(PageId page) const { return node(page).in_tree; }
  bool is_idle(PageId page) const { return node(page).idle; }
  uint64_t hash(PageId page) const { return node(page).hash; }  // as it was last inserted
  int32_t children(PageId page) const { return node(page).children; }
  std::optional<PageId> parent(PageId page) const;
  int64_t idle_nodes() const { return idle_nodes_; }
  int32_t page_tokens() const { return page_tokens_; }

 private:
  static constexpr int32_t kNone = -1;

  struct Node {
    uint64_t hash = 0;
    uint64_t name_space = 0;
    int32_t parent = kNone;
    int32_t children = 0;
    int32_t older = kNone;  // neighbours in the idle list
    int32_t newer = kNone;
    bool in_tree = false;
    bool idle = false;
  };

  Node& node(PageId page) { return nodes_[static_cast<size_t>(page.value)]; }
  const Node& node(PageId page) const { return nodes_[static_cast<size_t>(page.value)]; }
  int32_t* ids(PageId page) {
    return &ids_[static_cast<size_t>(int64_t{page.value} * page_tokens_)];
  }
  const int32_t* ids(PageId page) const {
    return &ids_[static_cast<size_t>(int64_t{page.value} * page_tokens_)];
  }
  size_t home(uint64_t hash) const { return static_cast<size_t>(hash) & (slots_.size() - 1); }
  void empty_slot(size_t slot);

  int32_t page_tokens_;
  std::vector<Node> nodes_;     // by page
  std::vector<int32_t> ids_;    // (pages, page_tokens)
  std::vector<int32_t> slots_;  // page or kNone: open addressing, linear probing, a power of two
  int32_t oldest_ = kNone;
  int32_t newest_ = kNone;
  int64_t idle_nodes_ = 0;
};

}  // namespace sluice::kv
