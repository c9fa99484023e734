// Random arrivals, lengths, shared prefixes and cancels against the scheduler alone: what
// plan_step.h promises holds in every step. (The engine's own simulation, with real pages, is in
// tests/engine.)
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>

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
constexpr StepCost kCost = StepCost::straight(1000, 100, 0.5);
constexpr double kTargetNs = 4000;

struct Sequence {
  SequenceState state;
  std::vector<uint64_t> hashes;  // of all pages that it will have
  int64_t end_tokens = 0;        // known tokens at which it ends
  int64_t arrived_step = 0;
  int64_t wait_steps_max = 0;  // until it starts
  bool started = false;
};

// Full pages by hash, as kv::PageCache keeps them: held by sequences, or idle until room is needed.
class Pages {
 public:
  int64_t held() const { return held_; }  // full ones, by at least one sequence
  int64_t idle() const { return static_cast<int64_t>(idle_.size()); }

  void hold(uint64_t hash) {
    if (holders_[hash]++ > 0) return;
    idle_.erase(hash);
    ++held_;
  }
  void let_go(uint64_t hash) {
    if (--holders_[hash] > 0) return;
    idle_.insert(hash);
    --held_;
  }
  void shrink_idle(int64_t idle_max) {
    while (idle() > std::max<int64_t>(idle_max, 0)) {
      holders_.erase(*idle_.begin());
      idle_.erase(idle_.begin());
    }
  }
  bool has(uint64_t hash) const { return holders_.contains(hash); }
  bool is_idle(uint64_t hash) const { return idle_.contains(hash); }

 private:
  std::map<uint64_t, int64_t> holders_;
  std::set<uint64_t> idle_;
  int64_t held_ = 0;
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
    s.state.rank = arrived_++;
    s.state.rows = random_.below(10) == 0 ? LogitRows::kAll : LogitRows::kLast;
    s.end_tokens = std::min(prompt + output, kContext);
    s.arrived_step = step_;
    // Half of the prompts begin as one of three texts do.
    const int64_t text = random_.below(3);
    const int64_t shared = random_.below(2) == 0 ? random_.below(prompt + 1) / kWidth : 0;
    for (int64_t page = 0; page < core::div_ceil(kContext, kWidth); ++page)
      s.hashes.push_back(
          static_cast<uint64_t>((page < shared ? text : 3 + s.state.rank) * 1000 + page));
    s.wait_steps_max = steps_alone(s);
    for (const Sequence& older : running_) s.wait_steps_max += steps_alone(older);
    for (const Sequence& older : waiting_) s.wait_steps_max += steps_alone(older);
    waiting_.push_back(s);
  }

  // At most, without anybody beside it: an output token or the least prefill a step.
  static int64_t steps_alone(const Sequence& s) {
    return s.end_tokens - s.state.known_tokens +
           core::div_ceil(s.state.known_tokens, kLimits.prefill_tokens_min);
  }

  void cancel() {
    if (random_.below(50) != 0) return;
    std::deque<Sequence>& from = random_.below(2) == 0 ? running_ : waiting_;
    if (from.empty()) return;
    const auto victim = from.begin() + random_.below(static_cast<int64_t>(from.size()));
    let_go(&*victim);
    from.erase(victim);
    ++ended_;
  }

  // Gives up all its pages; the full ones stay in the cache. Only the last one may be partial.
  void let_go(Sequence* s) {
    const int64_t full = s->state.computed_tokens / kWidth;
    for (int64_t page = 0; page < full; ++page) pages_.let_go(s->hashes[static_cast<size_t>(page)]);
    partial_ -= s->state.pages - full;
    s->state.pages = s->state.computed_tokens = 0;
  }
  int64_t available() const { return kPages - pages_.held() - partial_; }

  void look_up(const Sequence& s, SequenceState* state) const {
    if (state->rows == LogitRows::kAll) return;
    const int64_t reusable = (state->known_tokens - 1) / kWidth;
    while (state->pages < reusable && pages_.has(s.hashes[static_cast<size_t>(state->pages)])) {
      state->idle_pages += pages_.is_idle(s.hashes[static_cast<size_t>(state->pages)]);
      ++state->pages;
    }
    state->computed_tokens = state->pages * kWidth;
  }
  static SequenceState described(const Sequence& s) {
    SequenceState state = s.state;
    const auto full = static_cast<size_t>(state.known_tokens / kWidth);
    state.page_hashes = std::span(s.hashes).first(full);
    return state;
  }

  void plan() {
    for (int64_t rounds = 0;; ++rounds) {
      ASSERT_LE(rounds, kLimits.sequences_max) << "preemption has no end";
      running_states_.clear();
      waiting_states_.clear();
      for (const Sequence& s : running_) running_states_.push_back(described(s));
      for (const Sequence& s : waiting_) waiting_states_.push_back(described(s));
      input_ = {
          .running = running_states_,
          .waiting = waiting_states_,
          .look_up = [this](int64_t i,
                            SequenceState* s) { look_up(waiting_[static_cast<size_t>(i)], s); },
          .budget = kBudget,
          .limits = kLimits,
          .cost = kCost};
      input_.budget.pages = available();
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
    let_go(&s);
    ++preemptions_;
    const auto place = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const Sequence& w) { return w.state.rank > s.state.rank; });
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
      pages += core::div_ceil(s.computed_tokens + n, kWidth) - s.pages + s.idle_pages;
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
    check_order();
    if (decodes > 0 && prefill_tokens > kLimits.prefill_tokens_min) {
      ASSERT_LE(kCost.of(size), kTargetNs * 1.05) << "over the device time";
    }
  }

  // A waiting sequence is overtaken only while an older one, running or admitted before it in this
  // step, computes the page that it would take from the cache next.
  void check_order() {
    std::vector<const SequenceState*> computing;
    for (const SequenceState& s : input_.running) computing.push_back(&s);
    int64_t next = 0;
    for (const PlannedPart& p : plan_.admitted) {
      for (; next < p.index; ++next) {
        const SequenceState& s = input_.waiting[static_cast<size_t>(next)];
        const auto page = static_cast<size_t>(s.pages);
        ASSERT_LT(page, s.page_hashes.size()) << "overtaken with nothing to follow";
        ASSERT_TRUE(std::any_of(computing.begin(), computing.end(), [&](const SequenceState* o) {
          return o->rank < s.rank && page < o->page_hashes.size() &&
                 o->page_hashes[page] == s.page_hashes[page] &&
                 o->computed_tokens / kWidth <= s.pages;
        })) << "overtaken while it follows nobody";
        ++overtaken_;
      }
      computing.push_back(&input_.waiting[static_cast<size_t>(next++)]);
    }
  }

  void apply() {
    for (const PlannedPart& p : plan_.running)
      compute(&running_[static_cast<size_t>(p.index)], p.tokens);
    for (const PlannedPart& p : plan_.admitted) {
      Sequence& s = waiting_[static_cast<size_t>(p.index)];
      const SequenceState& state = input_.waiting[static_cast<size_t>(p.index)];
      for (int64_t page = 0; page < state.pages; ++page)
        pages_.hold(s.hashes[static_cast<size_t>(page)]);
      s.state.pages = state.pages;
      s.state.computed_tokens = state.computed_tokens;
      cached_pages_ += state.pages;
    }
    std::vector<int64_t> started;
    for (const PlannedPart& p : plan_.admitted) {
      Sequence s = waiting_[static_cast<size_t>(p.index)];
      started.push_back(s.state.rank);
      if (!s.started) {
        ASSERT_LE(step_ - s.arrived_step, s.wait_steps_max) << "sequence " << s.state.rank;
        wait_max_ = std::max(wait_max_, step_ - s.arrived_step);
      }
      s.started = true;
      compute(&s, p.tokens);
      const auto place = std::find_if(running_.begin(), running_.end(), [&](const Sequence& r) {
        return r.state.rank > s.state.rank;
      });
      running_.insert(place, s);
    }
    std::erase_if(waiting_, [&](const Sequence& s) {
      return std::find(started.begin(), started.end(), s.state.rank) != started.end();
    });
    std::erase_if(running_, [&](Sequence& s) {
      if (s.state.known_tokens < s.end_tokens) return false;
      let_go(&s);
      ++ended_;
      return true;
    });
    ASSERT_GE(available(), 0) << "more pages than there are";
    pages_.shrink_idle(available());
  }

  void compute(Sequence* s, int64_t tokens) {
    const int64_t full_before = s->state.computed_tokens / kWidth;
    partial_ -= s->state.pages - full_before;
    s->state.computed_tokens += tokens;
    s->state.pages = core::div_ceil(s->state.computed_tokens, kWidth);
    const int64_t full = s->state.computed_tokens / kWidth;
    partial_ += s->state.pages - full;
    for (int64_t page = full_before; page < full; ++page)
      pages_.hold(s->hashes[static_cast<size_t>(page)]);
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
  Pages pages_;
  int64_t partial_ = 0;  // pages that are not full, each of one sequence
  int64_t cached_pages_ = 0;
  int64_t overtaken_ = 0;
  int64_t arrived_ = 0;
  int64_t ended_ = 0;
  int64_t preemptions_ = 0;
  int64_t wait_max_ = 0;
};

TEST_P(Simulation, KeepsItsPromisesOverThousandsOfRequests) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  run();
  EXPECT_EQ(ended_, kRequests);
  EXPECT_EQ(available(), kPages) << "pages leaked";
  EXPECT_TRUE(running_.empty() && waiting_.empty());
  EXPECT_GT(preemptions_, 0);
  EXPECT_GT(cached_pages_, 1000);
  EXPECT_GT(overtaken_, 10);
  RecordProperty("steps", static_cast<int>(step_));
  RecordProperty("preemptions", static_cast<int>(preemptions_));
  RecordProperty("overtaken", static_cast<int>(overtaken_));
  RecordProperty("cached_pages", static_cast<int>(cached_pages_));
  RecordProperty("wait_max_steps", static_cast<int>(wait_max_));
}

INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, testing::Values(1, 2, 3));

}  // namespace
}  // namespace sluice::schedule
