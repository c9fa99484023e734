// Steps whose tokens a device samples, and the one submitted before the ids of the last are read:
// the same output as from logits, also where a sequence ends in between.
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

struct Ahead : ::testing::Test {
  LoopHarness h{fake_config(), 1, FakeSampling::kDevice};

  RequestId add(uint64_t seed, SamplingParams sampling) {
    requests.push_back({.id = {requests.size() + 1},
                        .prompt_ids = prompt(seed, 5 + static_cast<int64_t>(seed)),
                        .sampling = std::move(sampling)});
    return h.add(requests.back());
  }
  void expect_outputs() {
    for (const Request& r : requests) {
      const Outcome& o = h.outcomes.of(r.id);
      ASSERT_TRUE(o.finish.has_value()) << r.id.value;
      EXPECT_EQ(o.ids, expected_output(r, h.config)) << r.id.value;
    }
  }
  std::vector<Request> requests;
};

TEST_F(Ahead, ADecodeIsAheadFromItsFirstTokenOn) {
  add(1, greedy(20));
  h.run();
  expect_outputs();
  // One for the prompt, 19 for the others, each but the first behind the one before.
  EXPECT_EQ(h.runner.steps_submitted, std::ssize(h.outcomes.of({1}).ids));
  EXPECT_EQ(h.runner.steps_ahead, h.runner.steps_submitted - 1);
}

TEST_F(Ahead, EveryWayToSampleGivesTheTokensOfTheHost) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SamplingParams p{
        .temperature = 0.3f * static_cast<float>(seed), .seed = seed, .max_tokens = 30};
    if (seed % 2 == 0) p.top_k = 7;
    if (seed % 3 == 0) p.top_p = 0.8f;
    if (seed % 4 == 0) p.min_p = 0.05f;
    if (seed == 5) p.end_tokens = SamplingParams::EndTokens::kNever;
    if (seed == 6) p.stop_token_ids = {9, 10, 11, 12};
    if (seed == 7) p.min_tokens = 12;
    add(seed, p);
  }
  h.run();
  expect_outputs();
  EXPECT_GT(h.runner.steps_ahead, 10);
}

TEST_F(Ahead, WhatADeviceCannotSampleTakesLogits) {
  add(1, {.temperature = 0.7f, .frequency_penalty = 0.5f, .seed = 3, .max_tokens = 10});
  add(2, {.temperature = 0.0f, .max_tokens = 10, .logprobs_top = 2});
  add(3, {.temperature = 0.0f, .logit_bias = {{7, 3.0f}}, .max_tokens = 10});
  h.run();
  expect_outputs();
  EXPECT_EQ(h.runner.steps_submitted, 0);
}

// A stop token is seen when the next step is under way: its row is nobody's, the others go on.
TEST_F(Ahead, AStopTokenEndsOneOfSeveral) {
  SamplingParams stops = greedy(40);
  const std::vector<int32_t> all =
      expected_output({.prompt_ids = prompt(2, 7), .sampling = stops}, h.config);
  ASSERT_GT(all.size(), 6u);
  stops.stop_token_ids = {all[5]};
  add(1, {.temperature = 0.9f, .seed = 4, .max_tokens = 30});
  add(2, stops);
  add(3, greedy(25));
  h.run();
  expect_outputs();
  EXPECT_EQ(h.outcomes.of({2}).kinds.back(), TokenKind::kEnd);
}

TEST_F(Ahead, LogitsThatAreNotFiniteEndTheirSequenceAlone) {
  add(1, greedy(20));
  Request poisoned{.id = {50}, .prompt_ids = {5, kPoison, 6}, .sampling = greedy(20)};
  h.add(poisoned);
  add(2, greedy(20));
  h.run();
  expect_outputs();
  EXPECT_EQ(h.outcomes.of({50}).finish->reason, FinishReason::kError);
}

TEST_F(Ahead, MoreMaskedIdsThanADeviceTakesAreTheHosts) {
  SamplingParams p = greedy(20);
  p.min_tokens = 1;
  for (int32_t id = 2; id < 10; ++id) p.stop_token_ids.push_back(id);
  add(1, p);  // ten of them at the first token, none later
  h.step();
  EXPECT_EQ(h.runner.steps_submitted, 0);
  h.run();
  expect_outputs();
  EXPECT_GT(h.runner.steps_submitted, 0);
}

// The step ahead is of somebody who is cancelled before its ids come, and of others.
TEST_F(Ahead, ACancelMeetsAStepUnderWay) {
  const RequestId gone = h.add({.id = {50}, .prompt_ids = prompt(1, 6), .sampling = greedy(60)});
  add(2, {.temperature = 0.8f, .seed = 9, .max_tokens = 30});
  for (int step = 0; step < 5; ++step) h.step();
  ASSERT_GT(h.runner.steps_ahead, 2);
  h.end(gone, FinishReason::kCancelled);
  h.run();
  expect_outputs();
  EXPECT_EQ(h.outcomes.of(gone).finish->reason, FinishReason::kCancelled);
}

TEST_F(Ahead, CancelAllLeavesNothingUnderWay) {
  add(1, greedy(60));
  for (int step = 0; step < 4; ++step) h.step();
  h.loop.cancel_all(&h.messages);
  EXPECT_EQ(h.outcomes.of({1}).finish->reason, FinishReason::kCancelled);
  EXPECT_EQ(h.runner.steps_under_way(), 0);
  EXPECT_EQ(h.loop.cache().counts().used, 0);
}

// Who arrives is in the second step after: the one ahead is under way.
TEST_F(Ahead, AnArrivalWaitsForOneStep) {
  add(1, greedy(60));
  for (int step = 0; step < 4; ++step) h.step();
  const RequestId late = add(2, greedy(5));
  h.step();
  EXPECT_TRUE(h.outcomes.of(late).ids.empty());
  h.step();
  EXPECT_EQ(h.outcomes.of(late).ids.size(), 1u);
  h.run();
  expect_outputs();
}

// Without pages for the token after the next nobody goes ahead, and the youngest gives its own up.
TEST_F(Ahead, PagesRunOut) {
  EngineConfig config = fake_config();
  config.limits.kv_pages = 12;
  config.limits.context_tokens_max = 90;
  LoopHarness few(config, 1, FakeSampling::kDevice);
  std::vector<Request> many;
  for (uint64_t i = 1; i <= 4; ++i) {
    many.push_back({.id = {i},
                    .prompt_ids = prompt(i, 10),
                    .sampling = {.temperature = 0.7f, .seed = i, .max_tokens = 60}});
    many.back().sampling.end_tokens = SamplingParams::EndTokens::kNever;
    few.add(many.back());
  }
  few.run();
  for (const Request& r : many)
    EXPECT_EQ(few.outcomes.of(r.id).ids, expected_output(r, config)) << r.id.value;
  EXPECT_GT(few.loop.stats().preemptions, 0);
  EXPECT_GT(few.runner.steps_ahead, 20);
}

// Where a sequence's own text has no draft that is wanted, steps go ahead as without speculation;
// where it has one, the next step waits for the ids and verifies it.
TEST(AheadWithDrafts, WaitsForThoseThatAreWanted) {
  EngineConfig config = fake_config();
  config.limits.logit_rows_max = 40;
  config.speculation = Speculation::kNgram;
  config.end_token_ids = {};
  LoopHarness h(config, 1, FakeSampling::kDevice);
  std::vector<Request> requests;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Request r{.id = {seed}, .prompt_ids = prompt(seed, 20), .sampling = greedy(150)};
    const std::vector<int32_t> once = r.prompt_ids;
    r.prompt_ids.insert(r.prompt_ids.end(), once.begin(), once.end());
    if (seed % 2 == 0) r.sampling = {.temperature = 0.8f, .seed = seed, .max_tokens = 150};
    requests.push_back(r);
    h.add(r);
    if (seed == 2) h.run();  // two, then two others
  }
  h.run();
  for (const Request& r : requests)
    EXPECT_EQ(h.outcomes.of(r.id).ids, expected_output(r, config)) << r.id.value;
  const int64_t drafted = h.loop.stats().drafts[static_cast<size_t>(DraftKind::kNgram)].drafted;
  EXPECT_GT(drafted, 5);
  EXPECT_GT(h.runner.steps_ahead, 100);
  EXPECT_LT(h.runner.steps_ahead, h.runner.steps_submitted - 10);
}

}  // namespace
}  // namespace sluice::engine::testing
