// Random arrivals, lengths and cancels against the scheduler alone: what plan_step.h promises holds
// in every step. (The engine's own simulation, with real pages and prefixes, is in tests/engine.)
#include <algorithm>
#include <deque>
#include <limits>

#include <gtest/gtest.h>

#include "core/math.h"
#include "core/rng.h"
#include "schedule/plan_step.h"

namespace sluice::schedule {
namespace {

constexpr int64_t kWidth = 16;
constexpr int64_t kPages = 40;
constexpr int64_t kContext = 600;  // tokens; less than kPages · kWidth
constexpr int64_t kRequests = 12'000;
constexpr ScheduleLimits kLimits = {
    .sequences_max = 6, .chunk_tokens_max = 48, .prefill_tokens_min = 8, .page_tokens = kWidth};
constexpr Budget kBudget = {.tokens = 64, .pages = 0, .logit_rows = 8, .device_ns = 0};
constexpr StepCost kCost = {.fixed_ns = 1000, .token_ns = 100, .context_ns = 0.5};
constexpr double kTargetNs = 4000;

struct Sequence {
  SequenceState state;
  int64_t end_tokens = 0;  // known tokens at which it ends
  int64_t arrived_step = 0;
  int64_t preemptions = 0;
};

class Simulation : public testing::TestWithParam<uint64_t> {
 protected:
  void run() {
    while (ended_ < kRequests && !HasFatalFailure()) {
      arrive();
      cancel();
      plan();
      check_plan();
      apply();
      ++step_;
    }
  }

  // Busy and quiet times alternate.
  void arrive() {
    const int64_t one_in = (step_ / 2000) % 2 == 0 ? 8 : 80;
    const bool idle = running_.empty() && waiting_.empty();
    if (arrived_ == kRequests || (!idle && random_.below(one_in) != 0)) return;
    Sequence s;
    const int64_t prompt = 1 + random_.below(random_.below(4) == 0 ? kContext - 1 : 60);
    const int64_t output = 1 + random_.below(80);
    s.state.known_tokens = prompt;
    s.state.arrival = arrived_++;
    s.state.rows = random_.below(10) == 0 ? LogitRows::kAll : LogitRows::kLast;
    s.end_tokens = std::min(prompt + output, kContext);
    s.arrived_step = step_;
    waiting_.push_back(s);
  }

  void cancel() {
    if (random_.below(50) != 0) return;
    std::deque<Sequence>& from = random_.below(2) == 0 ? running_ : waiting_;
    if (from.empty()) return;
    const auto victim = from.begin() + random_.below(static_cast<int64_t>(from.size()));
    held_ -= victim->state.pages;
    from.erase(victim);
    ++ended_;
  }

  void plan() {
    for (int64_t rounds = 0;; ++rounds) {
      ASSERT_LE(rounds, kLimits.sequences_max) << "preemption has no end";
      running_states_.clear();
      waiting_states_.clear();
      for (const Sequence& s : running_) running_states_.push_back(s.state);
      for (const Sequence& s : waiting_) waiting_states_.push_back(s.state);
      input_ = {.running = running_states_,
                .waiting = waiting_states_,
                .budget = kBudget,
                .limits = kLimits,
                .cost = kCost};
      input_.budget.pages = kPages - held_;
      input_.budget.device_ns = kTargetNs;
      plan_step(input_, &plan_);
      if (!plan_.preempt) return;
      preempt();
    }
  }

  void preempt() {
    ASSERT_EQ(*plan_.preempt, static_cast<int64_t>(running_.size()) - 1) << "not the youngest";
    Sequence s = running_.back();
    running_.pop_back();
    held_ -= s.state.pages;
    s.state.pages = s.state.computed_tokens = 0;
    ++s.preemptions;
    ++preemptions_;
    const auto place = std::find_if(waiting_.begin(), waiting_.end(), [&](const Sequence& w) {
      return w.state.arrival > s.state.arrival;
    });
    waiting_.insert(place, s);
  }

  void check_plan() {
    if (running_.empty() && waiting_.empty()) return;
    int64_t tokens = 0;
    int64_t rows = 0;
    int64_t pages = 0;
    int64_t prefill_tokens = 0;
    int64_t decodes = 0;
    StepSize size;
    const auto count = [&](const SequenceState& s, int64_t n) {
      ASSERT_GT(n, 0);
      ASSERT_LE(n, std::min(s.missing(), kLimits.chunk_tokens_max));
      tokens += n;
      rows += s.rows == LogitRows::kAll ? n : (n == s.missing() ? 1 : 0);
      pages += core::div_ceil(s.computed_tokens + n, kWidth) - s.pages;
      size.tokens += n;
      size.context += context_of(n, s.computed_tokens);
      prefill_tokens += n;
    };
    for (const PlannedPart& p : plan_.running) {
      const SequenceState& s = input_.running[static_cast<size_t>(p.index)];
      count(s, p.tokens);
      if (s.missing() > 1 || s.rows == LogitRows::kAll) continue;
      ++decodes;
      --prefill_tokens;
    }
    for (const PlannedPart& p : plan_.admitted)
      count(input_.waiting[static_cast<size_t>(p.index)], p.tokens);
    ASSERT_LE(tokens, kBudget.tokens);
    ASSERT_LE(rows, kBudget.logit_rows);
    ASSERT_LE(pages, input_.budget.pages);
    ASSERT_LE(running_.size() + plan_.admitted.size(), static_cast<size_t>(kLimits.sequences_max));
    ASSERT_GT(tokens, 0) << "no progress";
    const auto& parts = plan_.running;
    ASSERT_TRUE(running_.empty() || std::any_of(parts.begin(), parts.end(),
                                                [](const PlannedPart& p) { return p.index == 0; }))
        << "the oldest stands still";
    for (size_t i = 0; i < plan_.admitted.size(); ++i)
      ASSERT_EQ(plan_.admitted[i].index, static_cast<int64_t>(i)) << "overtaken";
    if (decodes > 0 && prefill_tokens > kLimits.prefill_tokens_min) {
      ASSERT_LE(kCost.of(size), kTargetNs * 1.05) << "over the device time";
    }
  }

  void apply() {
    for (const PlannedPart& p : plan_.running)
      compute(&running_[static_cast<size_t>(p.index)], p.tokens);
    for (const PlannedPart& p : plan_.admitted) {
      Sequence s = waiting_.front();
      waiting_.pop_front();
      wait_max_ = std::max(wait_max_, step_ - s.arrived_step);
      compute(&s, p.tokens);
      const auto place = std::find_if(running_.begin(), running_.end(), [&](const Sequence& r) {
        return r.state.arrival > s.state.arrival;
      });
      running_.insert(place, s);
    }
    std::erase_if(running_, [&](const Sequence& s) {
      if (s.state.known_tokens < s.end_tokens) return false;
      held_ -= s.state.pages;
      ++ended_;
      return true;
    });
  }

  void compute(Sequence* s, int64_t tokens) {
    s->state.computed_tokens += tokens;
    const int64_t pages = core::div_ceil(s->state.computed_tokens, kWidth);
    held_ += pages - s->state.pages;
    s->state.pages = pages;
    if (s->state.missing() > 0) return;
    s->state.known_tokens += 1;
    s->state.rows = LogitRows::kLast;
  }

  core::Rng random_{GetParam()};
  std::deque<Sequence> running_;
  std::deque<Sequence> waiting_;
  std::vector<SequenceState> running_states_;
  std::vector<SequenceState> waiting_states_;
  StepInput input_;
  StepPlan plan_;
  int64_t step_ = 0;
  int64_t held_ = 0;  // pages
  int64_t arrived_ = 0;
  int64_t ended_ = 0;
  int64_t preemptions_ = 0;
  int64_t wait_max_ = 0;
};

TEST_P(Simulation, KeepsItsPromisesOverThousandsOfRequests) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  run();
  EXPECT_EQ(ended_, kRequests);
  EXPECT_EQ(held_, 0) << "pages leaked";
  EXPECT_TRUE(running_.empty() && waiting_.empty());
  EXPECT_GT(preemptions_, 0);
  RecordProperty("steps", static_cast<int>(step_));
  RecordProperty("preemptions", static_cast<int>(preemptions_));
  RecordProperty("wait_max_steps", static_cast<int>(wait_max_));
}

INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, testing::Values(1, 2, 3));

}  // namespace
}  // namespace sluice::schedule
