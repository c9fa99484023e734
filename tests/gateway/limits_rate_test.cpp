// A limit per minute on one thread: exact against a model in wide integers, with a clock that
// jumps.

#include <map>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {
namespace {

__extension__ using Wide = __int128;

constexpr int64_t kMinuteNs = Flow::kMinuteNs;

TEST(LimitsRate, BurstOfALimit) {
  EXPECT_EQ(RateLimit::of(100, 60'000), (RateLimit{100, 100}));
  EXPECT_EQ(RateLimit::of(100, 6'000), (RateLimit{100, 10}));
  EXPECT_EQ(RateLimit::of(7, 1), (RateLimit{7, 1})) << "one at a time";
  EXPECT_EQ(RateLimit::of(0, 60'000), (RateLimit{0, 0}));
  EXPECT_EQ(RateLimit::of(-5, 60'000), (RateLimit{0, 0}));
  EXPECT_EQ(RateLimit::of(INT64_MAX, INT64_MAX),
            (RateLimit{RateLimit::kPerMinuteMax, RateLimit::kBurstMax}));
}

// No limit loses or gains a token in any number of minutes, whether it divides them or not.
TEST(LimitsRate, FlowIsExactOverYears) {
  for (const int64_t per_minute : {1L, 7L, 59L, 100L, 1'000'003L, 999'999'937L, 50'000'000'000L}) {
    const Flow flow = Flow::begin({per_minute, 1}, 17);
    for (const int64_t minutes : {1L, 3L, 1'000L, 5'256'000L, 100'000'000L}) {
      const int64_t end_ns = 17 + minutes * kMinuteNs;
      ASSERT_EQ(flow.flowed(end_ns), minutes * per_minute);
      ASSERT_EQ(flow.flowed(end_ns - 1), minutes * per_minute - 1);
      ASSERT_EQ(flow.time_of(minutes * per_minute), end_ns);
    }
  }
}

TEST(LimitsRate, TimeOfIsTheFirstNanosecond) {
  constexpr uint64_t kSeed = 11;
  core::Rng rng(kSeed);
  for (int i = 0; i < 20'000; ++i) {
    const int64_t per_minute = 1 + rng.below(int64_t{1} << (1 + rng.below(35)));
    const Flow flow = Flow::begin({per_minute, 1}, rng.below(1'000'000));
    const int64_t tokens = 1 + rng.below(per_minute * 1000);
    const int64_t time_ns = flow.time_of(tokens);
    ASSERT_GE(flow.flowed(time_ns), tokens) << per_minute << " a minute, seed " << kSeed;
    ASSERT_LT(flow.flowed(time_ns - 1), tokens) << per_minute << " a minute, seed " << kSeed;
  }
}

TEST(LimitsRate, AClockAtItsEndOverflowsNothing) {
  RateWord<> word({RateLimit::kPerMinuteMax, 1'000}, 0);
  const RateAttempt last = word.reserve(1'000, INT64_MAX);
  EXPECT_EQ(last.answer, RateAnswer::kTaken);
  EXPECT_EQ(word.reserve(1, INT64_MAX).answer, RateAnswer::kLater);
  word.give_back(last.place, 0, INT64_MAX);
  EXPECT_EQ(word.level(INT64_MAX).remaining, 1'000);
  EXPECT_EQ(word.level(0).remaining, 0) << "a clock that goes back gives nothing";
  RateWord<> begun_later({60, 60}, kMinuteNs);
  EXPECT_EQ(begun_later.level(0).remaining, 60) << "before its beginning a clock stands still";
}

TEST(LimitsRate, CostsAtTheEdges) {
  RateWord<> word({100, 100}, 0);
  EXPECT_EQ(word.reserve(101, 0).answer, RateAnswer::kNever);
  EXPECT_EQ(word.reserve(INT64_MAX, 0).answer, RateAnswer::kNever);
  EXPECT_EQ(word.reserve(100, 0).answer, RateAnswer::kTaken);
  EXPECT_EQ(word.reserve(0, 0).answer, RateAnswer::kTaken) << "nothing costs nothing";
  EXPECT_EQ(word.reserve(1, 0).answer, RateAnswer::kLater);
  RateWord<> closed({0, 0}, 0);
  EXPECT_EQ(closed.reserve(1, kMinuteNs).answer, RateAnswer::kNever);
  EXPECT_EQ(closed.reserve(0, kMinuteNs).answer, RateAnswer::kTaken);
}

TEST(LimitsRate, RetryAfterIsTheFirstNanosecondThatPasses) {
  constexpr uint64_t kSeed = 12;
  core::Rng rng(kSeed);
  for (int i = 0; i < 2'000; ++i) {
    const int64_t per_minute = 1 + rng.below(1'000'000);
    const RateLimit limit = RateLimit::of(per_minute, 1 + rng.below(120'000));
    RateWord<> word(limit, 0);
    int64_t now_ns = rng.below(kMinuteNs);
    while (word.reserve(1 + rng.below(limit.burst), now_ns).answer == RateAnswer::kTaken) {
      now_ns += rng.below(1'000'000);
    }
    const int64_t cost = 1 + rng.below(limit.burst);
    const RateAttempt refused = word.ask(cost, now_ns);
    if (refused.answer != RateAnswer::kLater) continue;
    ASSERT_GT(refused.retry_at_ns, now_ns);
    ASSERT_EQ(word.ask(cost, refused.retry_at_ns - 1).answer, RateAnswer::kLater) << kSeed;
    ASSERT_EQ(word.reserve(cost, refused.retry_at_ns).answer, RateAnswer::kTaken) << kSeed;
  }
}

TEST(LimitsRate, LevelIsWhatTheHeadersSay) {
  RateWord<> word({120, 60}, 0);  // 2 a second
  EXPECT_EQ(word.level(0).remaining, 60);
  EXPECT_EQ(word.level(0).reset_ns, 0);
  word.reserve(40, 0);
  EXPECT_EQ(word.level(0).limit, 120);
  EXPECT_EQ(word.level(0).remaining, 20);
  EXPECT_EQ(word.level(0).reset_ns, 20'000'000'000);
  EXPECT_EQ(word.level(5'000'000'000).remaining, 30);
  EXPECT_EQ(word.level(20'000'000'000).remaining, 60);
}

TEST(LimitsRate, DebtDelaysTheNextAndIsHeldToAMost) {
  RateWord<> word({60, 60}, 0);  // 1 a second
  word.book(70, 0);
  EXPECT_EQ(word.level(0).remaining, 0);
  EXPECT_EQ(word.reserve(1, 0).retry_at_ns, 11'000'000'000);
  for (int i = 0; i < 100; ++i) word.book(INT64_MAX, 0);
  EXPECT_EQ(word.reserve(1, 0).answer, RateAnswer::kLater);
  RateWord<> slow({1, 1}, 0);
  slow.book(INT64_MAX, 0);
  EXPECT_EQ(slow.reserve(1, 0).retry_at_ns, Flow::kNeverNs);
}

// The whole of a refund comes back while nothing has flowed, in whatever order.
TEST(LimitsRate, RefundsInAnyOrder) {
  RateWord<> word({100, 100}, 0);
  std::vector<RatePlace> places;
  for (int i = 0; i < 10; ++i) places.push_back(word.reserve(10, 0).place);
  for (const size_t i : {9u, 0u, 5u, 3u, 8u, 1u, 2u, 7u, 4u, 6u}) word.give_back(places[i], 1, 0);
  EXPECT_EQ(word.level(0).remaining, 90);
}

// Ten answers of a minute each that end together do not open the limit ten times over.
TEST(LimitsRate, WhatHasFlowedByDoesNotComeBack) {
  RateWord<> word({100, 100}, 0);
  std::vector<RatePlace> places;
  for (int minute = 0; minute < 10; ++minute) {
    places.push_back(word.reserve(100, minute * kMinuteNs).place);
  }
  const int64_t now_ns = 10 * kMinuteNs;
  int64_t admitted = 0;
  for (const RatePlace& place : places) {
    word.give_back(place, 10, now_ns);
    for (; word.reserve(10, now_ns).answer == RateAnswer::kTaken; admitted += 10) {
    }
  }
  EXPECT_EQ(admitted, 100);
}

TEST(LimitsRate, AChangedLimitKeepsWhatIsTaken) {
  RateWord<> word({60, 60}, 0);
  const RatePlace place = word.reserve(50, 0).place;
  word.change({120, 120}, 0);
  EXPECT_EQ(word.level(0).remaining, 70);
  word.change({30, 30}, 0);
  EXPECT_EQ(word.level(0).remaining, 0);
  EXPECT_EQ(word.reserve(10, 0).retry_at_ns, kMinuteNs) << "30 must flow at 30 a minute";
  word.give_back(place, 5, 0);
  EXPECT_EQ(word.level(0).remaining, 25);
}

// The tokens that have flowed are the old limit's up to the change and the new one's after it.
TEST(LimitsRate, AChangeGoesOnFromWhatHasFlowed) {
  RateWord<> word({60, 60}, 0);  // 1 a second
  word.reserve(60, 0);
  word.change({120, 60}, 30'000'000'000);
  EXPECT_EQ(word.level(30'000'000'000).remaining, 30);
  EXPECT_EQ(word.level(40'000'000'000).remaining, 50);
  word.change({120, 60}, 40'000'000'000);
  EXPECT_EQ(word.level(45'000'000'000).remaining, 60);
}

// ---- against a model --------------------------------------------------------------------------

// The same limit, written down in full: every token that was admitted has a place of its own.
class Model {
 public:
  Model(RateLimit limit, int64_t start_ns) : limit_(limit), start_ns_(start_ns) {}

  struct Use {
    int64_t time_ns = 0;
    Wide start = 0;
    int64_t tokens = 0;
  };

  Wide flowed(int64_t now_ns) const {
    return static_cast<Wide>(now_ns - start_ns_) * limit_.per_minute / kMinuteNs;
  }
  bool reserve(int id, int64_t cost, int64_t now_ns) {
    const Wide start = std::max(end_, flowed(now_ns));
    if (start + cost - flowed(now_ns) > limit_.burst) return false;
    uses_[id] = {now_ns, start, cost};
    end_ = start + cost;
    return true;
  }
  // How much of what is not used lies ahead.
  int64_t free(int id, int64_t used, int64_t now_ns) const {
    const Use& use = uses_.at(id);
    return static_cast<int64_t>(
        std::max<Wide>(0, use.start + use.tokens - std::max(use.start + used, flowed(now_ns))));
  }
  void give_back(int id, int64_t used, int64_t freed) {
    Use& given = uses_.at(id);
    for (auto& [other, use] : uses_) {
      if (use.start >= given.start + given.tokens) use.start -= freed;
    }
    given.tokens = used;
    end_ -= freed;
  }
  int64_t remaining(int64_t now_ns) const {
    return static_cast<int64_t>(flowed(now_ns) + limit_.burst - std::max(end_, flowed(now_ns)));
  }
  // Over all spans that begin with a use.
  void check_spans(int64_t now_ns) const {
    for (const auto& [first, from] : uses_) {
      Wide used = 0;
      for (const auto& [other, use] : uses_) used += use.time_ns >= from.time_ns ? use.tokens : 0;
      ASSERT_LE(used, flowed(now_ns) - flowed(from.time_ns) + limit_.burst);
    }
  }

 private:
  RateLimit limit_;
  int64_t start_ns_;
  Wide end_ = 0;
  std::map<int, Use> uses_;
};

struct Open {
  int id = 0;
  RatePlace place;
};

void run_against_model(uint64_t seed) {
  core::Rng rng(seed);
  const RateLimit limit = RateLimit::of(1 + rng.below(100'000), 1'000 + rng.below(120'000));
  int64_t now_ns = rng.below(kMinuteNs);
  RateWord<> word(limit, now_ns);
  Model model(limit, now_ns);
  std::vector<Open> open;
  for (int id = 0; id < 120; ++id) {
    if (rng.below(3) > 0) now_ns += rng.below(kMinuteNs / (1 + rng.below(100)));
    if (open.empty() || rng.below(2) == 0) {
      const int64_t cost = 1 + rng.below(1 + limit.burst / (1 + rng.below(8)));
      const RateAttempt attempt = word.reserve(cost, now_ns);
      if (cost > limit.burst) {
        ASSERT_EQ(attempt.answer, RateAnswer::kNever);
        continue;
      }
      ASSERT_EQ(attempt.answer == RateAnswer::kTaken, model.reserve(id, cost, now_ns));
      if (attempt.answer == RateAnswer::kTaken) open.push_back({id, attempt.place});
    } else {
      const auto chosen = open.begin() + rng.below(static_cast<int64_t>(open.size()));
      const int64_t used = rng.below(chosen->place.cost + 1);
      const int64_t before = word.level(now_ns).remaining;
      word.give_back(chosen->place, used, now_ns);
      const int64_t freed = word.level(now_ns).remaining - before;
      ASSERT_LE(freed, model.free(chosen->id, used, now_ns));
      model.give_back(chosen->id, used, freed);
      open.erase(chosen);
    }
    ASSERT_EQ(word.level(now_ns).remaining, model.remaining(now_ns));
    ASSERT_NO_FATAL_FAILURE(model.check_spans(now_ns));
  }
}

TEST(LimitsRate, LikeTheModel) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_FATAL_FAILURE(run_against_model(seed));
  }
}

// At full load, with short answers that need a tenth of what they reserve, the limit is used to the
// last token: refunds that can be used come back whole.
TEST(LimitsRate, ShortAnswersUseTheWholeLimit) {
  constexpr RateLimit kLimit = {60'000, 60'000};  // 1 a ms
  constexpr int64_t kMs = 1'000'000;
  RateWord<> word(kLimit, 0);
  std::multimap<int64_t, RatePlace> ends;
  int64_t used = 0;
  for (int64_t now_ns = 0; now_ns < 10 * kMinuteNs; now_ns += kMs) {
    while (!ends.empty() && ends.begin()->first <= now_ns) {
      word.give_back(ends.begin()->second, 10, now_ns);
      ends.erase(ends.begin());
    }
    for (RateAttempt attempt; (attempt = word.reserve(100, now_ns)).answer == RateAnswer::kTaken;) {
      ends.emplace(now_ns + 2'000 * kMs, attempt.place);
      used += 10;
    }
  }
  EXPECT_GE(used, 99 * (10 * 60'000) / 100);
  EXPECT_LE(used, 11 * 60'000);
}

}  // namespace
}  // namespace sluice::gateway
