// Random arrivals, lengths, shared prefixes and cancels through the whole engine but its thread,
// with few pages: every request ends exactly once with the right output, no page is lost, nobody
// waits without end, and who is overtaken waits for another's prefix.
#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "core/math.h"
#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

constexpr int64_t kRequests = 4'000;  // for each seed

struct Scenario {
  uint64_t seed = 0;
  Speculation speculation = Speculation::kOff;
  FakeSampling sampling = FakeSampling::kHost;
};

EngineConfig config_of(const Scenario& scenario) {
  const uint64_t seed = scenario.seed;
  EngineConfig c = fake_config();
  c.speculation = scenario.speculation;
  c.limits.sequences_max = 6;
  c.limits.context_tokens_max = 150;
  c.limits.chunk_tokens_max = 8 + 16 * static_cast<int64_t>(seed % 3);
  c.limits.step_tokens_max = 48;
  c.limits.kv_pages = 30;
  c.limits.logit_rows_max = 10;
  c.limits.queue_max = kRequests;
  return c;
}

class EngineSimulation : public ::testing::TestWithParam<Scenario> {
 protected:
  void run() {
    while (ended_requests() < kRequests && !HasFailure()) {
      arrive();
      cancel();
      h_.step();  // checks every page
      ++step_;
      check_step();
      check_order();
      std::erase_if(live_, [&](const Live& l) { return h_.outcomes.of(l.id).finish.has_value(); });
    }
  }

  int64_t ended_requests() const {
    const auto& by_reason = h_.loop.stats().finished;
    return std::accumulate(by_reason.begin(), by_reason.end(), int64_t{0});
  }

  void arrive() {
    const bool idle = !h_.loop.has_work();
    if (static_cast<int64_t>(requests_.size()) == kRequests) return;
    if (!idle && random_.below((step_ / 500) % 2 == 0 ? 6 : 30) != 0) return;
    // Most share the start of one of three texts.
    const int64_t tokens = 1 + random_.below(random_.below(4) == 0 ? 140 : 50);
    Request r{.id = {requests_.size() + 1},
              .prompt_ids = prompt(static_cast<uint64_t>(random_.below(3)), tokens)};
    if (random_.below(3) == 0) r.prompt_ids.back() = 48;
    if (random_.below(200) == 0) r.prompt_ids.front() = kPoison;
    r.cache_salt = random_.below(8) == 0 ? 1 : 0;
    r.sampling.max_tokens = random_.below(60);
    r.sampling.seed = random_.bits();
    r.sampling.temperature = random_.below(3) == 0 ? 0.0f : 0.8f;
    if (random_.below(3) == 0) r.sampling.top_p = 0.9f;
    if (random_.below(5) == 0) r.sampling.repetition_penalty = 1.2f;
    if (random_.below(5) == 0) r.sampling.min_tokens = 10;
    if (random_.below(8) == 0) r.prompt_logprobs_top = 1;
    requests_.push_back(r);
    h_.add(r);
    Live added{.id = r.id, .arrived_step = step_, .wait_steps_max = steps_alone(r)};
    for (const Live& l : live_) added.wait_steps_max += steps_alone(request(l.id));
    live_.push_back(added);
  }

  // Accepted and not ended, in the order of arrival.
  struct Live {
    RequestId id;
    int64_t arrived_step = 0;
    int64_t wait_steps_max = 0;  // until it starts: as if all before it ran one after the other
    bool started = false;
  };
  const Request& request(RequestId id) const { return requests_[id.value - 1]; }

  // At most, with five decodes beside it: an output token or half of the rows of logits a step.
  static int64_t steps_alone(const Request& r) {
    return r.sampling.max_tokens + core::div_ceil(std::ssize(r.prompt_ids), 5) + 1;
  }
  // Whether some of the prompt's pages may come from an older sequence that runs.
  bool may_follow(const Live& l) const {
    const Request& r = request(l.id);
    const size_t width = kFakePageTokens;
    if (r.prompt_logprobs_top >= 0 || r.prompt_ids.size() <= width) return false;
    return std::any_of(live_.begin(), live_.end(), [&](const Live& o) {
      const Request& other = request(o.id);
      return o.id < l.id && o.started && other.cache_salt == r.cache_salt &&
             other.prompt_ids.size() >= width &&
             std::equal(r.prompt_ids.begin(), r.prompt_ids.begin() + width,
                        other.prompt_ids.begin());
    });
  }

  void check_order() {
    if (h_.steps.empty()) return;
    RequestId youngest_start{0};
    for (const StepPart& p : h_.steps.back().parts) {
      const auto l = std::find_if(live_.begin(), live_.end(),
                                  [&](const Live& entry) { return entry.id == p.id; });
      if (l == live_.end() || l->started) continue;
      l->started = true;
      youngest_start = std::max(youngest_start, l->id);
      wait_max_ = std::max(wait_max_, step_ - l->arrived_step);
      ASSERT_LE(step_ - l->arrived_step, l->wait_steps_max) << "request " << l->id.value;
    }
    for (const Live& l : live_) {
      if (l.started || youngest_start < l.id) continue;
      if (h_.outcomes.of(l.id).finish.has_value()) continue;  // cancelled in this step
      ASSERT_TRUE(may_follow(l)) << "request " << l.id.value << " is overtaken";
      ++overtaken_;
    }
  }

  void cancel() {
    if (requests_.empty() || random_.below(25) != 0) return;
    const Request& victim = requests_[requests_.size() - 1 -
                                      static_cast<size_t>(random_.below(std::min<int64_t>(
                                          12, static_cast<int64_t>(requests_.size()))))];
    h_.end(victim.id, FinishReason::kCancelled);
  }

  void check_step() {
    if (h_.steps.empty()) return;
    const EngineLimits& l = h_.config.limits;
    const LoggedStep& s = h_.steps.back();
    ASSERT_LE(static_cast<int64_t>(s.parts.size()), l.sequences_max);
    int64_t tokens = 0;
    for (const StepPart& p : s.parts) {
      tokens += p.tokens;
      if (p.kind == StepPart::Kind::kPrefill) {
        ASSERT_LE(p.tokens, l.chunk_tokens_max);
      }
    }
    ASSERT_LE(tokens, l.step_tokens_max);
    ASSERT_EQ(s.record.pages_free + s.record.pages_cached + s.record.pages_used, l.kv_pages);
  }

  // Outputs are right, or the right beginning where the request was cancelled.
  void check_outputs() {
    int64_t complete = 0;
    for (const Request& r : requests_) {
      const Outcome& o = h_.outcomes.of(r.id);
      ASSERT_TRUE(o.finish.has_value()) << "request " << r.id.value << " did not end";
      std::vector<int32_t> want = expected_output(r, h_.config);
      const bool poisoned = r.prompt_ids.front() == kPoison;
      if (o.finish->reason == FinishReason::kCancelled) {
        want.resize(std::min(want.size(), o.ids.size()));
      } else if (r.sampling.max_tokens > 0) {
        ASSERT_EQ(o.finish->reason == FinishReason::kError, poisoned) << r.id.value;
      }
      ASSERT_EQ(o.ids, want) << "request " << r.id.value;
      complete += o.finish->reason != FinishReason::kCancelled;
    }
    EXPECT_GT(complete, kRequests / 2);
  }

  core::Rng random_{GetParam().seed};
  LoopHarness h_{config_of(GetParam()), 1, GetParam().sampling};
  std::vector<Request> requests_;
  std::vector<Live> live_;
  int64_t step_ = 0;
  int64_t wait_max_ = 0;
  int64_t overtaken_ = 0;
};

TEST_P(EngineSimulation, EveryRequestEndsOnceWithItsOutput) {
  SCOPED_TRACE(::testing::Message() << "seed " << GetParam().seed);
  run();
  check_outputs();
  const EngineStats& stats = h_.loop.stats();
  EXPECT_GT(stats.preemptions, 10);
  EXPECT_GT(stats.prefix_hit_tokens, 1000);
  EXPECT_GT(stats.finished[static_cast<size_t>(FinishReason::kCancelled)], 50);
  EXPECT_GT(overtaken_, 10);
  EXPECT_EQ(h_.loop.cache().counts().used, 0);
  const auto accepted = [&](DraftKind kind) {
    return stats.drafts[static_cast<size_t>(kind)].accepted;
  };
  const Speculation speculation = GetParam().speculation;
  const bool own = speculation == Speculation::kNgram || speculation == Speculation::kAuto;
  const bool layer = speculation == Speculation::kMtp || speculation == Speculation::kAuto;
  EXPECT_EQ(accepted(DraftKind::kNgram) > 0, own);
  EXPECT_EQ(accepted(DraftKind::kMtp) > 0, layer);
  const bool is_sampled_there = GetParam().sampling == FakeSampling::kDevice;
  EXPECT_EQ(h_.runner.steps_submitted > 1000, is_sampled_there);
  EXPECT_EQ(h_.runner.steps_ahead > 500, is_sampled_there && !layer);
  RecordProperty("steps_ahead", static_cast<int>(h_.runner.steps_ahead));
  RecordProperty("steps", static_cast<int>(stats.steps));
  RecordProperty("overtaken", static_cast<int>(overtaken_));
  RecordProperty("wait_max_steps", static_cast<int>(wait_max_));
  RecordProperty("preemptions", static_cast<int>(stats.preemptions));
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, EngineSimulation,
    ::testing::Values(Scenario{1}, Scenario{2}, Scenario{3}, Scenario{1, Speculation::kNgram},
                      Scenario{2, Speculation::kMtp}, Scenario{3, Speculation::kAuto},
                      Scenario{4, Speculation::kOff, FakeSampling::kDevice},
                      Scenario{5, Speculation::kOff, FakeSampling::kDevice},
                      Scenario{6, Speculation::kAuto, FakeSampling::kDevice},
                      Scenario{7, Speculation::kMtp, FakeSampling::kDevice},
                      Scenario{9, Speculation::kNgram, FakeSampling::kDevice},
                      Scenario{10, Speculation::kNgram, FakeSampling::kDevice}));

}  // namespace
}  // namespace sluice::engine::testing
