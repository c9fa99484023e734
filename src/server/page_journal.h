// Which pages the prefix cache holds, and what changed of late, for readers on other threads.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "kv/page_change.h"

namespace sluice::server {

// Changes are numbered from 1. The last ones are kept; who has seen fewer gets a fresh snapshot.
class PageJournal {
 public:
  explicit PageJournal(int64_t changes_max);

  // The engine's page sink.
  void add(std::span<const kv::PageChange> changes);

  // What is different now: pages that came or went in between are in neither list.
  struct News {
    enum class Kind : uint8_t { kChanges, kSnapshot } kind = Kind::kChanges;
    uint64_t sequence = 0;        // of the last change that is in it
    std::vector<uint64_t> added;  // of a snapshot: all that there are
    std::vector<uint64_t> removed;
  };
  News since(uint64_t sequence) const;
  News snapshot() const;
  uint64_t sequence() const;

 private:
  mutable std::mutex mutex_;
  std::vector<kv::PageChange> last_;    // a ring: change number n is at n % size
  std::unordered_set<uint64_t> pages_;  // now
  uint64_t sequence_ = 0;
};

}  // namespace sluice::server
