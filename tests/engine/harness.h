// The loop without its thread, on a clock of its own, and what came out of it.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "engine/loop.h"
#include "tests/engine/fake_runner.h"

namespace sluice::engine::testing {

// A step's record with its parts.
struct LoggedStep {
  StepRecord record;
  std::vector<StepPart> parts;

  int64_t count(StepPart::Kind kind) const {
    return std::count_if(parts.begin(), parts.end(),
                         [&](const StepPart& p) { return p.kind == kind; });
  }
  int64_t tokens(StepPart::Kind kind) const {
    return std::accumulate(
        parts.begin(), parts.end(), int64_t{0},
        [&](int64_t sum, const StepPart& p) { return sum + (p.kind == kind ? p.tokens : 0); });
  }
};

struct Outcome {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> tops;
  std::vector<TokenKind> kinds;
  std::vector<PromptTokenEvent> prompt;  // `top` is in prompt_tops
  std::vector<std::vector<TokenLogprob>> prompt_tops;
  std::optional<FinishEvent> finish;
};

// Collects events and holds them to the order that request.h promises.
class Outcomes {
 public:
  void take(const StepEvents& events) {
    for (const PromptTokenEvent& e : events.prompt_tokens) {
      Outcome& o = live(e.id);
      EXPECT_EQ(e.position, static_cast<int64_t>(o.prompt.size()));
      EXPECT_TRUE(o.ids.empty());
      o.prompt.push_back(e);
      o.prompt_tops.emplace_back(e.top.begin(), e.top.end());
    }
    for (const TokenEvent& e : events.tokens) {
      Outcome& o = live(e.id);
      o.ids.push_back(e.token_id);
      o.kinds.push_back(e.kind);
      o.logprobs.push_back(e.logprob);
      o.tops.emplace_back(e.top.begin(), e.top.end());
    }
    for (const FinishEvent& e : events.finished) {
      Outcome& o = live(e.id);
      o.finish = e;
      EXPECT_EQ(e.completion_tokens, static_cast<int64_t>(o.ids.size()));
    }
  }
  void put(RequestId id, const Outcome& outcome) { outcomes_[id.value] = outcome; }
  const Outcome& of(RequestId id) { return outcomes_[id.value]; }
  const std::map<uint64_t, Outcome>& all() const { return outcomes_; }

 private:
  Outcome& live(RequestId id) {
    Outcome& o = outcomes_[id.value];
    EXPECT_FALSE(o.finish.has_value()) << "request " << id.value << " had ended";
    return o;
  }
  std::map<uint64_t, Outcome> outcomes_;
};

inline EngineConfig fake_config() {
  EngineConfig c;
  c.limits = {.sequences_max = 8,
              .queue_max = 100,
              .context_tokens_max = 200,
              .step_tokens_max = 64,
              .chunk_tokens_max = 64,
              .prefill_tokens_min = 8,
              .kv_pages = 200,
              .logit_rows_max = 16,
              .logprobs_top_max = 5};
  c.vocab_tokens = kFakeVocab;
  c.end_token_ids = {0, 1};
  return c;
}

class LoopHarness {
 public:
  explicit LoopHarness(EngineConfig c = fake_config(), int threads = 1,
                       FakeSampling sampling = FakeSampling::kHost)
      : config(std::move(c)),
        runner(config.limits.kv_pages, static_cast<int32_t>(config.limits.step_tokens_max),
               config.speculation != Speculation::kOff, sampling),
        pool(threads),
        parts{.runner = &runner,
              .pool = &pool,
              .ops = &kernels::reference_ops(),
              .clock = &clock,
              .sink = [this](const StepEvents& e) { outcomes.take(e); },
              .observer =
                  [this](const StepRecord& r) {
                    steps.push_back({r, {r.parts.begin(), r.parts.end()}});
                  }},
        loop(config, parts) {
    // Rows cost a little: drafts are worth it.
    runner.on_run = [this](const model::StepBatch& batch) {
      if (config.speculation != Speculation::kOff)
        clock.advance_ns(10'000 + 100 * std::ssize(batch.token_ids));
    };
    runner.on_draft = [this](const model::DraftBatch&) { clock.advance_ns(1'000); };
  }

  // Takes part from the next step on.
  RequestId add(Request request) {
    if (request.id.value == 0) request.id.value = ++last_id;
    const RequestId id = request.id;
    EXPECT_EQ(check_request(request, config), Admission::kAccepted);
    auto s = make_sequence(std::move(request), config, kFakePageTokens);
    s->arrival = arrivals++;
    s->submitted_ns = clock.now_ns();
    messages.arrivals.push_back(std::move(s));
    return id;
  }
  void end(RequestId id, FinishReason reason) { messages.ends.push_back({id, reason}); }

  void step() {
    clock.advance_ns(1000);
    loop.step(&messages);
    messages = {};
    loop.cache().check();
  }
  void run() {
    do {
      step();
      ASSERT_LT(++steps_run, 1'000'000) << "no end";
    } while (loop.has_work());
    EXPECT_EQ(loop.cache().counts().used, 0);
  }
  // Runs one request to its end.
  Outcome outcome(Request request) {
    const RequestId id = add(std::move(request));
    run();
    return outcomes.of(id);
  }

  const EngineConfig config;
  FakeRunner runner;
  core::ThreadPool pool;
  core::ManualClock clock;
  Outcomes outcomes;
  std::vector<LoggedStep> steps;
  const EngineParts parts;
  Loop loop;
  Messages messages;
  uint64_t last_id = 0;
  int64_t arrivals = 0;
  int64_t steps_run = 0;
};

// Ids from 2 up to 48: no end token, no poison.
inline std::vector<int32_t> prompt(uint64_t seed, int64_t tokens) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(2 + static_cast<int32_t>(46 * core::random_unit(seed, static_cast<uint64_t>(i))));
  return ids;
}

inline SamplingParams greedy(int64_t max_tokens) {
  return {.temperature = 0.0f, .max_tokens = max_tokens};
}

}  // namespace sluice::engine::testing
