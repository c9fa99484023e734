// Every order of the steps of three threads that reserve, settle and refund at one word.

#include <gtest/gtest.h>

#include "gateway/limits/counter_words.h"
#include "gateway/limits/rate_word.h"
#include "tests/gateway/limits_explorer.h"

namespace sluice::gateway::exploring {
namespace {

constexpr int64_t kNowNs = 1'000;
constexpr int64_t kBurst = 10;
constexpr RateLimit kLimit = {.per_minute = 100, .burst = kBurst};

int64_t held_by(const std::vector<Local>& threads) {
  int64_t held = 0;
  for (const Local& local : threads) held += local.held;
  return held;
}

struct Life {
  int64_t cost = 0;
  int64_t used = 0;  // beyond the cost: debt
};

// Reserves and, if it could, settles.
template <typename Words>
std::vector<Stage> life_at(RateWord<Words>& word, const Life& life) {
  return {[&word, life](Local& local) {
            const RateAttempt attempt = word.reserve(life.cost, kNowNs);
            local.place = attempt.place;
            if (attempt.answer == RateAnswer::kTaken) local.held += life.cost;
          },
          [&word, life](Local& local) {
            if (local.place.cost == 0) return;
            if (life.used > life.cost) {
              word.book(life.used - life.cost, kNowNs);
            } else {
              word.give_back(local.place, life.used, kNowNs);
            }
            local.held += life.used - life.cost;
            local.place = {};
          }};
}

std::vector<Stage> twice(const std::vector<Stage>& stages) {
  std::vector<Stage> doubled = stages;
  doubled.insert(doubled.end(), stages.begin(), stages.end());
  return doubled;
}

struct RateCase {
  std::vector<Life> lives;
  int64_t debt_max = 0;
};

// The clock stands still, so nothing flows: the word must hold, after every step, exactly what the
// threads hold, and that may pass the burst by the debt alone.
void explore_rate(const RateCase& rate_case) {
  Explorer explorer;
  RateWord<ExploredWords> word(kLimit, kNowNs);
  for (const Life& life : rate_case.lives) explorer.add_thread(life_at(word, life));
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    const int64_t held = held_by(threads);
    ASSERT_LE(held, kBurst + rate_case.debt_max);
    ASSERT_EQ(word.level(kNowNs).remaining, std::max<int64_t>(0, kBurst - held));
  });
  explorer.set_at_end([&](const std::vector<Local>& threads) {
    ASSERT_GT(held_by(threads), 0) << "all refused, though the first to come fits";
  });
  explorer.run();
  EXPECT_GT(explorer.states(), 500);
  EXPECT_EQ(explorer.endless(), 0);
}

TEST(LimitsInterleaving, TheWordHoldsWhatTheThreadsHold) {
  explore_rate({.lives = {{6, 2}, {5, 1}, {4, 4}}});
  explore_rate({.lives = {{5, 5}, {5, 1}, {5, 2}}});
  explore_rate({.lives = {{10, 1}, {9, 1}, {8, 1}}});
}

TEST(LimitsInterleaving, DebtIsAddedAndNothingElsePassesTheBurst) {
  explore_rate({.lives = {{6, 9}, {4, 2}, {3, 3}}, .debt_max = 3});
}

TEST(LimitsInterleaving, AllThatFitPassAndAllComesBack) {
  Explorer explorer;
  RateWord<ExploredWords> word(kLimit, kNowNs);
  explorer.add_thread(twice(life_at(word, {5, 0})));
  explorer.add_thread(life_at(word, {3, 0}));
  explorer.add_thread(life_at(word, {2, 0}));
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    ASSERT_EQ(word.level(kNowNs).remaining, kBurst - held_by(threads));
    for (const Local& local : threads) ASSERT_EQ(local.held, local.place.cost);
  });
  explorer.run();
  EXPECT_EQ(explorer.endless(), 0);
}

// A clock that goes on between any two steps. What is used in any span of time is within what
// flowed in it and the burst. Where an operation is overtaken by the clock, what flowed meanwhile
// may be there twice.
TEST(LimitsInterleaving, WhileTheClockGoesOn) {
  constexpr RateLimit kPerNs = {.per_minute = Flow::kMinuteNs, .burst = kBurst};  // 1 a ns
  constexpr int64_t kTickNs = 3;
  constexpr int kTicks = 2;
  Explorer explorer;
  ExploredWord<int64_t> clock = 0;
  RateWord<ExploredWords> word(kPerNs, 0);
  const auto begin_operation = [&](Local& local) { return local.since_ns = clock.load(); };
  const auto end_operation = [&](Local& local) {
    local.overtaken |= clock.load() != local.since_ns;
    local.since_ns = -1;
  };
  for (const Life& life : {Life{6, 2}, Life{7, 1}}) {
    const Stage reserve = [&, life](Local& local) {
      const int64_t now_ns = begin_operation(local);
      local.place = word.reserve(life.cost, now_ns).place;
      if (local.place.cost > 0) local.uses.push_back({now_ns, life.cost});
      end_operation(local);
    };
    const Stage settle = [&, life](Local& local) {
      if (local.place.cost == 0) return;
      word.give_back(local.place, life.used, begin_operation(local));
      local.uses.back().tokens = life.used;
      end_operation(local);
    };
    explorer.add_thread({reserve, settle, reserve, settle});
  }
  explorer.add_thread({kTicks, [&](Local&) { clock.fetch_add(kTickNs); }});
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    const int64_t now_ns = clock.load();
    int64_t twice = 0;
    for (const Local& local : threads) {
      if (local.overtaken || (local.since_ns >= 0 && local.since_ns != now_ns)) twice = now_ns;
    }
    for (int64_t begin_ns = 0; begin_ns <= now_ns; begin_ns += kTickNs) {
      int64_t used = 0;
      for (const Local& local : threads) {
        for (const Local::Use& use : local.uses) used += use.time_ns >= begin_ns ? use.tokens : 0;
      }
      ASSERT_LE(used, now_ns - begin_ns + kBurst + twice);
    }
  });
  explorer.run();
  EXPECT_GT(explorer.states(), 1'000);
  EXPECT_EQ(explorer.endless(), 0);
}

TEST(LimitsInterleaving, ALimitThatChangesLosesNothingThatIsOpen) {
  constexpr RateLimit kSmaller = {.per_minute = 50, .burst = 6};
  Explorer explorer;
  RateWord<ExploredWordsAndParameters> word(kLimit, kNowNs);
  explorer.add_thread(life_at(word, {6, 2}));
  explorer.add_thread({[&](Local&) { word.change(kSmaller, kNowNs); }});
  explorer.set_invariant(
      [&](const std::vector<Local>& threads) { ASSERT_LE(held_by(threads), kBurst); });
  explorer.set_at_end([&](const std::vector<Local>& threads) {
    ASSERT_EQ(word.level(kNowNs).remaining,
              std::max<int64_t>(0, kSmaller.burst - held_by(threads)));
  });
  explorer.run();
  EXPECT_GT(explorer.states(), 100);
}

// A reader that meets the writer waits; the orders in which it waits for ever are cut.
TEST(LimitsInterleaving, AFlowIsNeverReadHalfWritten) {
  constexpr Flow kOld = {.anchor_ns = 1, .anchor_tokens = 2, .per_minute = 3, .burst = 4};
  constexpr Flow kNew = {.anchor_ns = 5, .anchor_tokens = 6, .per_minute = 7, .burst = 8};
  Explorer explorer;
  SharedFlow<ExploredWordsAndParameters> shared(kOld);
  int64_t reads = 0;
  explorer.add_thread({[&](Local&) {
    const Flow flow = shared.read();
    ++reads;
    const Flow& whole = flow.anchor_ns == kOld.anchor_ns ? kOld : kNew;
    ASSERT_EQ(flow.anchor_ns, whole.anchor_ns);
    ASSERT_EQ(flow.anchor_tokens, whole.anchor_tokens);
    ASSERT_EQ(flow.limit(), whole.limit());
  }});
  explorer.add_thread({[&](Local&) { shared.write(kNew); }});
  explorer.run();
  EXPECT_GT(reads, 0);
  EXPECT_GT(explorer.ends(), 0);
}

// Two threads meet in a period whose slot still holds the one of four periods ago, while a third
// settles in the period before.
TEST(LimitsInterleaving, CalendarPeriodsRollOver) {
  constexpr int64_t kLimitTokens = 10;
  constexpr int64_t kDay = 5;
  Explorer explorer;
  CalendarWord<ExploredWords> word(kLimitTokens);
  ASSERT_TRUE(word.reserve(9, kDay - 4));
  ASSERT_TRUE(word.reserve(8, kDay - 1));
  for (const Life& life : {Life{6, 2}, Life{5, 0}}) {
    explorer.add_thread({[&word, life](Local& local) {
                           if (word.reserve(life.cost, kDay)) local.held = life.cost;
                         },
                         [&word, life](Local& local) {
                           if (local.held == 0) return;
                           word.add(life.used - life.cost, kDay);
                           local.held = life.used;
                         }});
  }
  explorer.add_thread({[&word](Local&) { word.add(-3, kDay - 1); }});
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    ASSERT_LE(held_by(threads), kLimitTokens);
    ASSERT_EQ(word.used(kDay), held_by(threads));
  });
  explorer.set_at_end([&](const std::vector<Local>&) {
    ASSERT_EQ(word.used(kDay - 1), 5);
    ASSERT_EQ(word.used(kDay - 4), 0);
  });
  explorer.run();
  EXPECT_GT(explorer.ends(), 0);
}

TEST(LimitsInterleaving, StreamsThatAreOpen) {
  constexpr int64_t kStreams = 2;
  Explorer explorer;
  OpenWord<ExploredWords> word(kStreams);
  const Stage begin = [&word](Local& local) { local.held = word.reserve() ? 1 : 0; };
  const Stage end = [&word](Local& local) {
    if (local.held > 0) word.release();
    local.held = 0;
  };
  for (int thread = 0; thread < 3; ++thread) explorer.add_thread({begin, end, begin, end});
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    ASSERT_LE(held_by(threads), kStreams);
    ASSERT_EQ(word.open(), held_by(threads));
  });
  explorer.run();
  EXPECT_EQ(explorer.endless(), 0);
}

TEST(LimitsInterleaving, ABalanceThatIsToppedUpMeanwhile) {
  constexpr int64_t kBalance = 10;
  Explorer explorer;
  BalanceWord<ExploredWords> word;
  word.begin(kBalance);
  for (const Life& life : {Life{6, 2}, Life{7, 8}}) {
    explorer.add_thread({[&word, life](Local& local) {
                           if (word.reserve(life.cost)) local.held = life.cost;
                         },
                         [&word, life](Local& local) {
                           if (local.held == 0) return;
                           word.add(life.cost - life.used);
                           local.held = life.used;
                         }});
  }
  explorer.add_thread({[&word](Local& local) {
    word.add(5);
    local.held = -5;
  }});
  explorer.set_invariant([&](const std::vector<Local>& threads) {
    ASSERT_EQ(word.left(), kBalance - held_by(threads));
    ASSERT_GE(word.left(), -1) << "more than the one token of debt";
  });
  explorer.run();
  EXPECT_EQ(explorer.endless(), 0);
}

}  // namespace
}  // namespace sluice::gateway::exploring
