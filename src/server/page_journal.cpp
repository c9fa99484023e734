#include "server/page_journal.h"

#include <unordered_map>

#include "core/assert.h"

namespace sluice::server {

using Kind = kv::PageChange::Kind;

PageJournal::PageJournal(int64_t changes_max) : last_(static_cast<size_t>(changes_max)) {
  ASSERT(changes_max > 0, "{} changes are kept", changes_max);
}

void PageJournal::add(std::span<const kv::PageChange> changes) {
  std::lock_guard lock(mutex_);
  for (const kv::PageChange& change : changes) {
    last_[++sequence_ % last_.size()] = change;
    if (change.kind == Kind::kAdded)
      pages_.insert(change.hash);
    else
      pages_.erase(change.hash);
  }
}

PageJournal::News PageJournal::since(uint64_t sequence) const {
  std::unique_lock lock(mutex_);
  if (sequence > sequence_ || sequence_ - sequence > last_.size()) {
    lock.unlock();
    return snapshot();
  }
  struct Seen {
    Kind first;
    Kind last;
  };
  std::unordered_map<uint64_t, Seen> seen;
  for (uint64_t n = sequence + 1; n <= sequence_; ++n) {
    const kv::PageChange& change = last_[n % last_.size()];
    seen.try_emplace(change.hash, Seen{change.kind, change.kind}).first->second.last = change.kind;
  }
  News news{.sequence = sequence_, .added = {}, .removed = {}};
  for (const auto& [hash, kinds] : seen)
    if (kinds.first == kinds.last)
      (kinds.last == Kind::kAdded ? news.added : news.removed).push_back(hash);
  return news;
}

PageJournal::News PageJournal::snapshot() const {
  std::lock_guard lock(mutex_);
  return {.kind = News::Kind::kSnapshot,
          .sequence = sequence_,
          .added = {pages_.begin(), pages_.end()},
          .removed = {}};
}

uint64_t PageJournal::sequence() const {
  std::lock_guard lock(mutex_);
  return sequence_;
}

}  // namespace sluice::server
