// The KV pages of one arena as sequences see them: take pages, publish full ones, find the pages of
// a prefix again. Pages that no sequence holds keep their content until somebody needs the room.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/page_change.h"
#include "kv/page_pool.h"
#include "kv/radix_tree.h"

namespace sluice::kv {

// A sequence's token ids with the hash of every full page (contract/block_hash.h).
struct PrefixKey {
  uint64_t name_space = 0;
  std::span<const uint64_t> page_hashes;
  std::span<const int32_t> ids;  // at least page_hashes.size() · page_tokens
};

struct PageCounts {
  int64_t free = 0;
  int64_t cached = 0;  // the prefix cache's alone: taken when no page is free
  int64_t used = 0;    // held by sequences
};

struct PrefixMatch {
  int64_t pages = 0;       // leading pages of the key that are here
  int64_t idle_pages = 0;  // of these, held by no sequence: acquiring them uses available pages
};

class PageCache {
 public:
  PageCache(int64_t pages, int32_t page_tokens);

  // A page for new tokens: a free one, else the least recently used cached one. None when all are
  // held by sequences.
  std::optional<PageId> take();

  // The longest prefix of at most `pages_max` pages. Does not change anything.
  PrefixMatch match(const PrefixKey& key, int64_t pages_max) const;

  // Holds the first `pages` pages of the key, which match() has found, and appends them.
  void acquire(const PrefixKey& key, int64_t pages, std::vector<PageId>* out);

  // Page `index` of the key is full and in held[index]; the pages before it are published. Where
  // the same content is here already, held[index] becomes that page and the own one is free again.
  void publish(const PrefixKey& key, int64_t index, std::span<PageId> held);

  // One holder less for each page of a sequence; `held` in the order of its tokens.
  void release(std::span<const PageId> held);

  // Forgets all that no sequence holds.
  void flush();

  // What came and went since the last clear_changes(), in order.
  std::span<const PageChange> changes() const { return changes_; }
  void clear_changes() { changes_.clear(); }

  int64_t pages() const { return pool_.pages(); }
  int64_t available() const { return pool_.free_pages() + tree_.idle_nodes(); }
  int32_t page_tokens() const { return tree_.page_tokens(); }
  PageCounts counts() const;

  // ASSERTs that free, cached and used pages add up; O(1).
  void check_sum() const;
  // ASSERTs every invariant of every page; O(pages).
  void check() const;

 private:
  NodeKey node_key(const PrefixKey& key, int64_t index, std::optional<PageId> parent) const;
  void hold(PageId page);
  void evict(PageId page);

  PagePool pool_;
  RadixTree tree_;
  std::vector<PageChange> changes_;
};

}  // namespace sluice::kv
