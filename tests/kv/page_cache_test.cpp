#include "kv/page_cache.h"

#include <algorithm>
#include <deque>
#include <map>

#include <gtest/gtest.h>

#include "contract/block_hash.h"
#include "core/rng.h"

namespace sluice::kv {
namespace {

constexpr int32_t kWidth = 4;  // tokens a page

struct Owned {
  uint64_t name_space = 0;
  std::vector<int32_t> ids;
  std::vector<uint64_t> hashes;
  std::vector<PageId> pages;

  PrefixKey key() const { return {name_space, hashes, ids}; }
};

Owned text(uint64_t name_space, std::vector<int32_t> ids) {
  Owned o{.name_space = name_space, .ids = std::move(ids), .hashes = {}, .pages = {}};
  contract::extend_page_hashes(name_space, o.ids, kWidth, &o.hashes);
  return o;
}

// Takes a page for every started page of `o` and publishes the full ones.
void fill(PageCache* cache, Owned* o) {
  while (o->pages.size() * kWidth < o->ids.size()) o->pages.push_back(*cache->take());
  for (size_t i = 0; i < o->hashes.size(); ++i)
    cache->publish(o->key(), static_cast<int64_t>(i), o->pages);
  cache->check();
}

TEST(PageCache, FindsTheLongestPrefixOfFullPages) {
  PageCache cache(8, kWidth);
  Owned a = text(1, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  fill(&cache, &a);
  EXPECT_EQ(cache.match(text(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).key(), 8).pages, 2);
  EXPECT_EQ(cache.match(text(1, {1, 2, 3, 4, 5, 6, 7, 0}).key(), 8).pages, 1);
  EXPECT_EQ(cache.match(text(1, {1, 2, 3, 4, 5, 6, 7, 8}).key(), 1).pages, 1);
  EXPECT_EQ(cache.match(text(1, {5, 6, 7, 8}).key(), 8).pages, 0) << "not at its place";
  EXPECT_EQ(cache.match(text(2, {1, 2, 3, 4}).key(), 8).pages, 0) << "another namespace";
}

TEST(PageCache, AHashThatCollidesIsNoMatch) {
  PageCache cache(8, kWidth);
  Owned a = text(1, {1, 2, 3, 4});
  fill(&cache, &a);
  Owned liar = text(1, {4, 3, 2, 1});
  liar.hashes = a.hashes;
  EXPECT_EQ(cache.match(liar.key(), 8).pages, 0);
  Owned other_space = text(2, {1, 2, 3, 4});
  other_space.hashes = a.hashes;
  EXPECT_EQ(cache.match(other_space.key(), 8).pages, 0);

  Owned long_a = text(1, {1, 2, 3, 4, 9, 9, 9, 9});
  fill(&cache, &long_a);
  Owned b = text(1, {2, 2, 2, 2});
  fill(&cache, &b);
  Owned other_parent = text(1, {2, 2, 2, 2, 9, 9, 9, 9});
  other_parent.hashes[1] = long_a.hashes[1];
  EXPECT_EQ(cache.match(other_parent.key(), 8).pages, 1);
}

TEST(PageCache, HeldPagesAreNotEvicted) {
  PageCache cache(2, kWidth);
  Owned a = text(1, {1, 2, 3, 4, 5, 6, 7, 8});
  fill(&cache, &a);
  EXPECT_EQ(cache.available(), 0);
  EXPECT_FALSE(cache.take().has_value());
  cache.release(a.pages);
  EXPECT_EQ(cache.available(), 2);
  const PageId taken = *cache.take();
  EXPECT_EQ(taken, a.pages[1]) << "the leaf goes before its parent";
  EXPECT_EQ(cache.match(a.key(), 8).pages, 1);
  cache.check();
}

TEST(PageCache, EvictsTheLeastRecentlyUsedBranch) {
  PageCache cache(3, kWidth);
  Owned a = text(1, {1, 1, 1, 1});
  Owned b = text(1, {2, 2, 2, 2});
  Owned c = text(1, {3, 3, 3, 3});
  for (Owned* o : {&a, &b, &c}) {
    fill(&cache, o);
    cache.release(o->pages);
  }
  std::vector<PageId> again;
  cache.acquire(a.key(), 1, &again);
  cache.release(again);
  ASSERT_TRUE(cache.take().has_value());
  EXPECT_EQ(cache.match(a.key(), 8).pages, 1);
  EXPECT_EQ(cache.match(b.key(), 8).pages, 0);
  EXPECT_EQ(cache.match(c.key(), 8).pages, 1);
}

TEST(PageCache, TheSameContentIsKeptOnce) {
  PageCache cache(8, kWidth);
  Owned a = text(1, {1, 2, 3, 4, 5, 6, 7, 8});
  Owned b = a;
  fill(&cache, &a);
  fill(&cache, &b);
  EXPECT_EQ(a.pages, b.pages);
  EXPECT_EQ(cache.counts().used, 2);
  cache.release(b.pages);
  EXPECT_EQ(cache.counts().used, 2) << "a's";
  cache.release(a.pages);
  EXPECT_EQ(cache.counts().cached, 2);
  cache.flush();
  EXPECT_EQ(cache.counts().free, 8);
  cache.check();
}

// The same rules written with whole prefixes in maps and lists.
class NaiveCache {
 public:
  using Path = std::pair<uint64_t, std::vector<int32_t>>;

  explicit NaiveCache(int64_t pages) : free_(pages) {}

  int64_t match(const Owned& o, int64_t pages_max) const {
    int64_t n = 0;
    while (n < pages_max && (n + 1) * kWidth <= static_cast<int64_t>(o.ids.size()) &&
           holders_.contains(path(o, n)))
      ++n;
    return n;
  }
  void acquire(const Owned& o, int64_t pages) {
    for (int64_t i = 0; i < pages; ++i) hold(path(o, i));
  }
  bool take() {
    if (free_ == 0) {
      if (idle_.empty()) return false;
      holders_.erase(idle_.front());
      idle_.pop_front();
      ++free_;
    }
    --free_;
    return true;
  }
  void publish(const Owned& o, int64_t index) {
    if (holders_.contains(path(o, index))) ++free_;
    hold(path(o, index));
  }
  void release(const Owned& o, int64_t published) {
    free_ += static_cast<int64_t>(o.pages.size()) - published;
    for (int64_t i = published; i-- > 0;)
      if (--holders_[path(o, i)] == 0) idle_.push_back(path(o, i));
  }
  void flush() {
    for (const Path& p : idle_) holders_.erase(p);
    free_ += static_cast<int64_t>(idle_.size());
    idle_.clear();
  }
  int64_t free() const { return free_; }
  int64_t cached() const { return static_cast<int64_t>(idle_.size()); }

 private:
  static Path path(const Owned& o, int64_t page) {
    return {o.name_space, {o.ids.begin(), o.ids.begin() + (page + 1) * kWidth}};
  }
  void hold(const Path& p) {
    if (holders_[p]++ == 0) std::erase(idle_, p);
  }

  int64_t free_;
  std::map<Path, int64_t> holders_;
  std::deque<Path> idle_;  // the front is evicted first
};

// Sequences start with what is cached, grow token by token, publish pages when full, and end.
class CacheProperty : public testing::TestWithParam<uint64_t> {
 protected:
  static constexpr int64_t kPages = 24;

  void start() {
    std::vector<int32_t> ids;
    for (int64_t n = 1 + random_.below(20); n > 0; --n)
      ids.push_back(static_cast<int32_t>(random_.below(2)));
    Owned o = text(static_cast<uint64_t>(random_.below(2)), std::move(ids));
    const int64_t limit = (static_cast<int64_t>(o.ids.size()) - 1) / kWidth;
    const PrefixMatch found = cache_.match(o.key(), limit);
    ASSERT_EQ(found.pages, naive_.match(o, limit));
    const int64_t available = cache_.available();
    cache_.acquire(o.key(), found.pages, &o.pages);
    ASSERT_EQ(cache_.available(), available - found.idle_pages);
    naive_.acquire(o, found.pages);
    for (int64_t t = 0; t < found.pages * kWidth; ++t)
      ASSERT_EQ(content(o, t), o.ids[static_cast<size_t>(t)]) << "position " << t;
    live_.push_back({std::move(o), found.pages * kWidth, found.pages});
  }

  void grow(size_t which) {
    Live& l = live_[which];
    if (l.computed == static_cast<int64_t>(l.o.ids.size()))
      l.o.ids.push_back(static_cast<int32_t>(random_.below(2)));
    if (static_cast<int64_t>(l.o.pages.size()) * kWidth == l.computed) {
      const std::optional<PageId> page = cache_.take();
      ASSERT_EQ(page.has_value(), naive_.take());
      if (!page) return end(which);
      l.o.pages.push_back(*page);
    }
    content(l.o, l.computed) = l.o.ids[static_cast<size_t>(l.computed)];
    ++l.computed;
    if (l.computed % kWidth != 0) return;
    contract::extend_page_hashes(l.o.name_space, l.o.ids, kWidth, &l.o.hashes);
    cache_.publish(l.o.key(), l.published, l.o.pages);
    naive_.publish(l.o, l.published);
    ++l.published;
  }

  void end(size_t which) {
    cache_.release(live_[which].o.pages);
    naive_.release(live_[which].o, live_[which].published);
    live_.erase(live_.begin() + static_cast<int64_t>(which));
  }

  void check() {
    cache_.check();
    ASSERT_EQ(cache_.counts().free, naive_.free());
    ASSERT_EQ(cache_.counts().cached, naive_.cached());
    for (const Live& l : live_)
      for (int64_t t = 0; t < l.computed; ++t)
        ASSERT_EQ(content(l.o, t), l.o.ids[static_cast<size_t>(t)]) << "position " << t;
  }

  struct Live {
    Owned o;
    int64_t computed = 0;
    int64_t published = 0;
  };

  int32_t& content(const Owned& o, int64_t position) {
    const PageId page = o.pages[static_cast<size_t>(position / kWidth)];
    return content_[static_cast<size_t>(page.value * kWidth + position % kWidth)];
  }

  core::Rng random_{GetParam()};
  PageCache cache_{kPages, kWidth};
  NaiveCache naive_{kPages};
  std::vector<int32_t> content_ = std::vector<int32_t>(kPages * kWidth, -1);
  std::vector<Live> live_;
};

TEST_P(CacheProperty, AgreesWithTheNaiveModel) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  for (int step = 0; step < 4000 && !HasFatalFailure(); ++step) {
    const int64_t dice = random_.below(100);
    if (dice < 12 && live_.size() < 6) start();
    const auto which = static_cast<size_t>(random_.below(static_cast<int64_t>(live_.size())));
    if (dice >= 12 && dice < 92 && !live_.empty()) grow(which);
    if (dice >= 92 && dice < 99 && !live_.empty()) end(which);
    if (dice == 99 && random_.below(10) == 0) {
      cache_.flush();
      naive_.flush();
    }
    check();
  }
  while (!live_.empty()) end(0);
  check();
  EXPECT_EQ(cache_.counts().used, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CacheProperty, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace sluice::kv
