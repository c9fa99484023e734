// What a gateway asks of the engine beside sampling: order, deadlines, targets, going on behind
// tokens that another engine has made; and what it is told of the prefix cache.
#include <set>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

SamplingParams to_the_end(int64_t tokens) {
  SamplingParams params = greedy(tokens);
  params.end_tokens = SamplingParams::EndTokens::kNever;
  return params;
}

EngineConfig one_at_a_time() {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 1;
  return config;
}

Request with_priority(uint64_t seed, int32_t priority) {
  return {.prompt_ids = prompt(seed, 20), .sampling = greedy(3), .priority = priority};
}

// The requests in the order in which their first step came.
std::vector<uint64_t> order_of(const LoopHarness& h) {
  std::vector<uint64_t> order;
  for (const LoggedStep& step : h.steps)
    for (const StepPart& part : step.parts)
      if (std::find(order.begin(), order.end(), part.id.value) == order.end())
        order.push_back(part.id.value);
  return order;
}

TEST(Priority, TheHigherGoesFirstAndEqualOnesByArrival) {
  LoopHarness h(one_at_a_time());
  h.add(with_priority(1, 0));
  h.step();  // runs already
  for (const int32_t priority : {0, -5, 7, 0, 7}) h.add(with_priority(2, priority));
  h.run();
  EXPECT_EQ(order_of(h), (std::vector<uint64_t>{1, 4, 6, 2, 5, 3}));
}

TEST(Priority, TheLowestGivesItsPagesUp) {
  EngineConfig config = fake_config();
  config.limits.kv_pages = 6;
  config.limits.context_tokens_max = 48;
  LoopHarness h(config);
  const RequestId low =
      h.add({.prompt_ids = prompt(1, 8), .sampling = to_the_end(30), .priority = -1});
  const RequestId high = h.add({.prompt_ids = prompt(2, 8), .sampling = to_the_end(30)});
  h.run();
  EXPECT_GT(h.outcomes.of(low).finish->preemptions, 0) << "although it came first";
  EXPECT_EQ(h.outcomes.of(high).finish->preemptions, 0);
}

TEST(Deadline, WhatHasNotBegunByThenEnds) {
  LoopHarness h(one_at_a_time());
  const RequestId running = h.add({.prompt_ids = prompt(1, 20), .sampling = to_the_end(50)});
  Request late{.prompt_ids = prompt(2, 20), .sampling = to_the_end(3)};
  late.deadline_ns = h.clock.now_ns() + 10'000;
  const RequestId waiting = h.add(late);
  late.deadline_ns = h.clock.now_ns() + 1'000'000;
  const RequestId patient = h.add(late);
  h.run();
  EXPECT_EQ(h.outcomes.of(waiting).finish->reason, FinishReason::kDeadline);
  EXPECT_EQ(h.outcomes.of(waiting).finish->completion_tokens, 0);
  EXPECT_EQ(h.outcomes.of(running).finish->completion_tokens, 50);
  EXPECT_EQ(h.outcomes.of(patient).finish->completion_tokens, 3);
  EXPECT_EQ(h.loop.stats().finished[static_cast<size_t>(FinishReason::kDeadline)], 1);
}

TEST(Deadline, WhatHasBegunGoesOn) {
  LoopHarness h;
  Request request{.prompt_ids = prompt(1, 20), .sampling = to_the_end(30)};
  request.deadline_ns = h.clock.now_ns() + 5'000;
  EXPECT_EQ(h.outcome(request).finish->completion_tokens, 30);
}

TEST(Target, IsCountedAsMetOrMissed) {
  LoopHarness h;  // a step takes 1 µs
  Request request{.prompt_ids = prompt(1, 20), .sampling = greedy(5)};
  request.target = {.ttft_ns = 10'000, .tpot_ns = 10'000, .total_ns = 100'000};
  h.outcome(request);
  EXPECT_EQ(h.loop.stats().targets_met, 1);
  for (Target missed : {Target{.ttft_ns = 1}, Target{.tpot_ns = 1}, Target{.total_ns = 2'000}}) {
    request.target = missed;
    h.outcome(request);
  }
  request.target = {};
  h.outcome(request);
  EXPECT_EQ(h.loop.stats().targets_met, 1);
  EXPECT_EQ(h.loop.stats().targets_missed, 3);
}

// Cut anywhere, in another engine: the same ids, and what they are counted as.
TEST(Resume, GoesOnBehindWhatAnotherEngineMade) {
  for (const uint64_t seed : {1, 2, 3}) {
    Request request{.prompt_ids = prompt(seed, 21), .sampling = greedy(20)};
    if (seed > 1) {
      request.sampling.temperature = 1.0f;
      request.sampling.seed = seed;
      request.sampling.frequency_penalty = 0.7f;
      request.sampling.repetition_penalty = 1.3f;
      request.sampling.min_tokens = 6;
    }
    LoopHarness first;
    const Outcome whole = first.outcome(request);
    for (size_t cut = 1; cut < whole.ids.size(); ++cut) {
      LoopHarness second;
      Request rest = request;
      rest.prompt_ids.insert(rest.prompt_ids.end(), whole.ids.begin(),
                             whole.ids.begin() + static_cast<int64_t>(cut));
      rest.resumed_tokens = static_cast<int64_t>(cut);
      const RequestId id = second.add(rest);
      Outcome joined;
      joined.ids.assign(whole.ids.begin(), whole.ids.begin() + static_cast<int64_t>(cut));
      second.outcomes.put(id, joined);  // as if they had come from here
      second.run();
      const Outcome& all = second.outcomes.of(id);
      EXPECT_EQ(all.ids, whole.ids) << "cut " << cut << ", seed " << seed;
      EXPECT_EQ(all.finish->prompt_tokens, whole.finish->prompt_tokens);
      EXPECT_EQ(all.finish->reason, whole.finish->reason);
    }
  }
}

// Pages as a gateway follows them are those that the next request finds.
TEST(Pages, ChangesLeadToWhatIsCached) {
  const uint64_t seed = 11;
  core::Rng rng(seed);
  EngineConfig config = fake_config();
  config.limits.kv_pages = 30;
  std::set<uint64_t> pages;
  FakeRunner runner(config.limits.kv_pages);
  core::ThreadPool pool(1);
  const core::ManualClock clock;
  int64_t removed = 0;
  const EngineParts parts{
      .runner = &runner,
      .pool = &pool,
      .ops = &kernels::reference_ops(),
      .clock = &clock,
      .sink = [](const StepEvents&) {},
      .pages =
          [&](std::span<const kv::PageChange> changes) {
            for (const kv::PageChange& c : changes) {
              const bool added = c.kind == kv::PageChange::Kind::kAdded;
              removed += !added;
              EXPECT_TRUE(added ? pages.insert(c.hash).second : pages.erase(c.hash) == 1);
            }
          },
      .observer = {}};
  Loop loop(config, parts);
  for (uint64_t round = 0; round < 60; ++round) {
    Messages messages;
    Request request{.id = {round + 1},
                    .prompt_ids = prompt(static_cast<uint64_t>(rng.below(8)), 20 + rng.below(60)),
                    .sampling = greedy(1 + rng.below(20))};
    if (round % 20 == 19) messages.flush = FlushCache::kYes;
    messages.arrivals.push_back(make_sequence(request, config, kFakePageTokens));
    do {
      loop.step(&messages);
      messages = {};
    } while (loop.has_work());
    ASSERT_EQ(static_cast<int64_t>(pages.size()), loop.cache().counts().cached)
        << "round " << round << ", seed " << seed;
  }
  EXPECT_GT(removed, 20);
}

}  // namespace
}  // namespace sluice::engine::testing
