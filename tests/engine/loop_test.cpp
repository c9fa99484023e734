#include "engine/loop.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

using ::testing::Each;
using ::testing::Le;

TEST(Loop, ContinuesAPromptUntilMaxTokens) {
  LoopHarness h;
  SamplingParams params = greedy(20);
  params.end_tokens = SamplingParams::EndTokens::kNever;
  const Request r{.prompt_ids = prompt(1, 30), .sampling = params};
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
  EXPECT_EQ(o.ids.size(), 20u);
  ASSERT_TRUE(o.finish.has_value());
  EXPECT_EQ(o.finish->reason, FinishReason::kLength);
  EXPECT_EQ(o.finish->prompt_tokens, 30);
  EXPECT_EQ(o.finish->completion_tokens, 20);
  EXPECT_EQ(o.finish->cached_tokens, 0);
  EXPECT_EQ(h.steps.size(), 20u);
}

// A request whose output has an end token; and where it comes.
Request ending_request(const EngineConfig& config, int64_t* end_at) {
  for (uint64_t seed = 1;; ++seed) {
    Request r{.prompt_ids = prompt(seed, 12), .sampling = greedy(60)};
    const std::vector<int32_t> ids = expected_output(r, config);
    *end_at = static_cast<int64_t>(ids.size());
    if (*end_at >= 5 && *end_at < 30) return r;
  }
}

TEST(Loop, AnEndTokenEndsIt) {
  LoopHarness h;
  int64_t end_at = 0;
  const Request r = ending_request(h.config, &end_at);
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.finish->reason, FinishReason::kStop);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
  EXPECT_EQ(o.kinds.back(), TokenKind::kEnd);
  EXPECT_EQ(std::count(o.kinds.begin(), o.kinds.end(), TokenKind::kEnd), 1);
}

TEST(Loop, IgnoredEndTokensAreNeverChosen) {
  LoopHarness h;
  int64_t end_at = 0;
  Request r = ending_request(h.config, &end_at);
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
  EXPECT_EQ(o.ids.size(), 60u);
  EXPECT_THAT(o.ids, Each(::testing::Gt(1)));
}

TEST(Loop, MinTokensComeBeforeAnEnd) {
  LoopHarness h;
  int64_t end_at = 0;
  Request r = ending_request(h.config, &end_at);
  r.sampling.min_tokens = end_at + 3;
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
  EXPECT_GT(static_cast<int64_t>(o.ids.size()), r.sampling.min_tokens);
}

TEST(Loop, WhereEveryIdIsAnEndMinTokensCannotBeReached) {
  LoopHarness h;
  for (const int32_t top_k : {0, 5}) {
    Request r{.prompt_ids = prompt(3, 12), .sampling = {.top_k = top_k, .max_tokens = 30}};
    r.sampling.min_tokens = 2;
    r.sampling.stop_token_ids.resize(kFakeVocab);
    std::iota(r.sampling.stop_token_ids.begin(), r.sampling.stop_token_ids.end(), 0);
    const Outcome o = h.outcome(r);
    EXPECT_TRUE(o.ids.empty());
    ASSERT_TRUE(o.finish.has_value());
    EXPECT_EQ(o.finish->reason, FinishReason::kStop);
  }
}

TEST(Loop, AStopTokenOfTheRequestEndsIt) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(3, 12), .sampling = greedy(30)};
  const std::vector<int32_t> plain = expected_output(r, h.config);
  r.sampling.stop_token_ids = {plain[4]};
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
  EXPECT_LE(o.ids.size(), 5u);
  EXPECT_EQ(o.kinds.back(), TokenKind::kEnd);
  EXPECT_EQ(o.finish->reason, FinishReason::kStop);
}

TEST(Loop, IdsThatNoTokenHasDoNothing) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(3, 12), .sampling = greedy(10)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const std::vector<int32_t> plain = expected_output(r, h.config);
  r.sampling.min_tokens = 5;
  r.sampling.stop_token_ids = {-7, kFakeVocab, 1'000'000'000};
  r.sampling.logit_bias = {{-1, 50.0f}, {kFakeVocab, 50.0f}, {2'000'000'000, 50.0f}};
  r.sampling.logprobs_top = 1000;
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.ids, plain);
  EXPECT_EQ(o.tops.front().size(), 5u) << "logprobs_top_max";
}

TEST(Loop, AFullContextEndsIt) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(4, 190), .sampling = greedy(1000)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.finish->reason, FinishReason::kLength);
  EXPECT_EQ(o.ids.size(), 10u);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
}

TEST(Loop, ZeroTokensComputeThePromptOnly) {
  LoopHarness h;
  const Outcome o = h.outcome({.prompt_ids = prompt(4, 200), .sampling = greedy(0)});
  EXPECT_EQ(o.finish->reason, FinishReason::kLength);
  EXPECT_TRUE(o.ids.empty());
  EXPECT_EQ(h.loop.stats().prompt_tokens, 200);
}

TEST(Loop, LogProbabilitiesOfTheSampledTokens) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(5, 20),
            .sampling = {.seed = 9, .max_tokens = 10, .logprobs_top = 3}};
  const Outcome o = h.outcome(r);
  std::vector<int32_t> history = r.prompt_ids;
  std::vector<float> logits(kFakeColumns);
  for (size_t i = 0; i < o.ids.size(); ++i) {
    fake_logits(history, logits.data());
    double sum = 0;
    for (int32_t t = 0; t < kFakeVocab; ++t)
      sum += std::exp(static_cast<double>(logits[static_cast<size_t>(t)]));
    EXPECT_NEAR(o.logprobs[i],
                static_cast<double>(logits[static_cast<size_t>(o.ids[i])]) - std::log(sum), 1e-4);
    ASSERT_EQ(o.tops[i].size(), 3u);
    EXPECT_GE(o.tops[i][0].logprob, o.tops[i][1].logprob);
    history.push_back(o.ids[i]);
  }
}

// Log probabilities of a prompt are the same however it was cut and whatever was cached before.
void expect_prompt_logprobs(const Request& r, const Outcome& o) {
  ASSERT_EQ(o.prompt.size(), r.prompt_ids.size());
  EXPECT_TRUE(std::isnan(o.prompt[0].logprob));
  std::vector<float> logits(kFakeColumns);
  for (size_t i = 0; i < o.prompt.size(); ++i) {
    EXPECT_EQ(o.prompt[i].token_id, r.prompt_ids[i]);
    if (i == 0) continue;
    fake_logits(std::span(r.prompt_ids).first(i), logits.data());
    double sum = 0;
    for (int32_t t = 0; t < kFakeVocab; ++t)
      sum += std::exp(static_cast<double>(logits[static_cast<size_t>(t)]));
    EXPECT_NEAR(o.prompt[i].logprob,
                static_cast<double>(logits[static_cast<size_t>(r.prompt_ids[i])]) - std::log(sum),
                1e-4);
    EXPECT_EQ(o.prompt_tops[i].size(), 2u);
  }
}

TEST(Loop, LogProbabilitiesOfThePrompt) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(6, 90), .sampling = greedy(5), .prompt_logprobs_top = 2};
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    const Outcome o = h.outcome(r);
    expect_prompt_logprobs(r, o);
    EXPECT_EQ(o.finish->cached_tokens, 0);
    EXPECT_EQ(o.ids, expected_output(r, h.config));
  }
  for (const LoggedStep& s : h.steps) EXPECT_LE(s.tokens(StepPart::Kind::kPrefill), 16);
  const Outcome one =
      h.outcome({.prompt_ids = {7}, .sampling = greedy(0), .prompt_logprobs_top = 2});
  EXPECT_EQ(one.prompt.size(), 1u);
}

TEST(Loop, AWarmPrefixIsNotComputedAgain) {
  LoopHarness h;
  const Request r{.prompt_ids = prompt(7, 50), .sampling = greedy(10)};
  const Outcome cold = h.outcome(r);
  const Outcome warm = h.outcome(r);
  EXPECT_EQ(cold.ids, warm.ids);
  EXPECT_EQ(cold.finish->cached_tokens, 0);
  EXPECT_EQ(warm.finish->cached_tokens, 48) << "six pages of eight";
  EXPECT_EQ(h.loop.stats().prefix_query_tokens, 100);
  EXPECT_EQ(h.loop.stats().prefix_hit_tokens, 48);
}

TEST(Loop, AnAnswerIsAPrefixOfTheNextTurn) {
  LoopHarness h;
  Request first{.prompt_ids = prompt(8, 20), .sampling = greedy(30)};
  first.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const Outcome o = h.outcome(first);
  Request second{.prompt_ids = first.prompt_ids, .sampling = greedy(5)};
  second.prompt_ids.insert(second.prompt_ids.end(), o.ids.begin(), o.ids.end());
  second.prompt_ids.push_back(5);
  const Outcome next = h.outcome(second);
  EXPECT_EQ(next.ids, expected_output(second, h.config));
  EXPECT_EQ(next.finish->cached_tokens, 48) << "the last sampled token was never computed";
}

TEST(Loop, TheWholePromptIsNeverTakenFromTheCache) {
  LoopHarness h;
  const Request r{.prompt_ids = prompt(9, 48), .sampling = greedy(3)};
  h.outcome(r);
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.finish->cached_tokens, 40);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
}

TEST(Loop, SaltsSeparatePrefixes) {
  LoopHarness h;
  Request r{.prompt_ids = prompt(10, 50), .sampling = greedy(4), .cache_salt = 1};
  h.outcome(r);
  r.cache_salt = 2;
  EXPECT_EQ(h.outcome(r).finish->cached_tokens, 0);
  r.cache_salt = 1;
  EXPECT_EQ(h.outcome(r).finish->cached_tokens, 48);
}

TEST(Loop, FlushForgetsPrefixes) {
  LoopHarness h;
  const Request r{.prompt_ids = prompt(11, 50), .sampling = greedy(4)};
  h.outcome(r);
  h.messages.flush = FlushCache::kYes;
  h.step();
  EXPECT_EQ(h.loop.cache().counts().free, 200);
  EXPECT_EQ(h.outcome(r).finish->cached_tokens, 0);
}

TEST(Loop, SiblingsComputeTheirPromptOnce) {
  EngineConfig config = fake_config();
  config.limits.chunk_tokens_max = 16;
  LoopHarness h(config);
  std::vector<Request> requests;
  for (uint64_t i = 0; i < 8; ++i)
    requests.push_back({.id = {100 + i},
                        .prompt_ids = prompt(12, 100),
                        .sampling = {.seed = i, .max_tokens = 10}});
  for (const Request& r : requests) h.add(r);
  h.run();
  int64_t computed = 0;
  for (const LoggedStep& s : h.steps) computed += s.tokens(StepPart::Kind::kPrefill);
  EXPECT_EQ(computed, 100 + 7 * 4) << "twelve pages of eight are shared, four tokens are not";
  for (const Request& r : requests) {
    EXPECT_EQ(h.outcomes.of(r.id).ids, expected_output(r, h.config));
    EXPECT_EQ(h.outcomes.of(r.id).finish->cached_tokens, r.id.value == 100 ? 0 : 96);
  }
}

TEST(Loop, AFollowerGoesOnWhenItsLeaderIsCancelled) {
  EngineConfig config = fake_config();
  config.limits.chunk_tokens_max = 16;
  LoopHarness h(config);
  const RequestId leader = h.add({.prompt_ids = prompt(13, 100), .sampling = greedy(5)});
  const Request r{.id = {50}, .prompt_ids = prompt(13, 100), .sampling = greedy(5)};
  h.add(r);
  h.step();
  h.step();
  h.end(leader, FinishReason::kCancelled);
  h.run();
  EXPECT_EQ(h.outcomes.of(r.id).finish->cached_tokens, 32);
  EXPECT_EQ(h.outcomes.of(r.id).ids, expected_output(r, h.config));
}

TEST(Loop, PreemptedSequencesBringTheSameOutput) {
  EngineConfig config = fake_config();
  config.limits.kv_pages = 30;  // 240 tokens for four sequences of up to 112
  LoopHarness h(config);
  std::vector<Request> requests;
  for (uint64_t i = 0; i < 4; ++i) {
    Request r{.id = {i + 1},
              .prompt_ids = prompt(20 + i, 30 + 10 * static_cast<int64_t>(i)),
              .sampling = {.repetition_penalty = 1.3f, .seed = i, .max_tokens = 80}};
    r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
    r.prompt_logprobs_top = i == 3 ? 2 : -1;
    h.add(r);
    requests.push_back(r);
  }
  h.run();
  EXPECT_GT(h.loop.stats().preemptions, 0);
  int64_t preemptions = 0;
  for (const Request& r : requests) {
    const Outcome& o = h.outcomes.of(r.id);
    EXPECT_EQ(o.ids, expected_output(r, h.config));
    preemptions += o.finish->preemptions;
  }
  EXPECT_EQ(preemptions, h.loop.stats().preemptions);
  EXPECT_EQ(h.outcomes.of({1}).finish->preemptions, 0) << "the oldest is never preempted";
  expect_prompt_logprobs(requests[3], h.outcomes.of({4}));
}

TEST(Loop, LogitsThatAreNoNumbersEndOneRequestOnly) {
  LoopHarness h;
  const Request good{.id = {1}, .prompt_ids = prompt(30, 40), .sampling = greedy(10)};
  Request bad{.id = {2}, .prompt_ids = prompt(31, 40), .sampling = greedy(10)};
  bad.prompt_ids[20] = kPoison;
  h.add(bad);
  h.add(good);
  h.run();
  EXPECT_EQ(h.outcomes.of(bad.id).finish->reason, FinishReason::kError);
  EXPECT_TRUE(h.outcomes.of(bad.id).ids.empty());
  EXPECT_EQ(h.outcomes.of(good.id).ids, expected_output(good, h.config));
}

TEST(Loop, AnErrorEmptiesThePrefixCache) {
  EngineConfig config = fake_config();
  config.limits.chunk_tokens_max = 16;
  LoopHarness h(config);
  Request r{.prompt_ids = prompt(32, 60), .sampling = greedy(3)};
  r.prompt_ids[40] = kPoison;
  EXPECT_EQ(h.outcome(r).finish->reason, FinishReason::kError);
  r.prompt_ids[40] = 5;
  const Outcome o = h.outcome(r);
  EXPECT_EQ(o.finish->cached_tokens, 0);
  EXPECT_EQ(o.ids, expected_output(r, h.config));
}

TEST(Loop, LogProbabilitiesOfAPromptThatWasPreemptedInTheMiddle) {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 2;
  config.limits.logit_rows_max = 2;  // one row a step beside a decode
  config.limits.kv_pages = 26;
  LoopHarness h(config);
  Request first{.id = {1}, .prompt_ids = prompt(1, 60), .sampling = greedy(130)};
  first.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const Request second{
      .id = {2}, .prompt_ids = prompt(2, 120), .sampling = greedy(3), .prompt_logprobs_top = 2};
  h.add(first);
  h.add(second);
  while (h.loop.stats().preemptions == 0) h.step();
  const size_t reported = h.outcomes.of(second.id).prompt.size();
  EXPECT_GT(reported, 20u);
  EXPECT_LT(reported, second.prompt_ids.size());
  h.run();
  EXPECT_EQ(h.outcomes.of(first.id).ids, expected_output(first, h.config));
  EXPECT_EQ(h.outcomes.of(second.id).ids, expected_output(second, h.config));
  expect_prompt_logprobs(second, h.outcomes.of(second.id));
}

// ---- Cancel in every state

class Cancel : public ::testing::TestWithParam<FinishReason> {
 protected:
  void end(RequestId id) { h_.end(id, GetParam()); }
  void expect_ended(RequestId id) {
    ASSERT_TRUE(h_.outcomes.of(id).finish.has_value());
    EXPECT_EQ(h_.outcomes.of(id).finish->reason, GetParam());
  }
  static EngineConfig config() {
    EngineConfig c = fake_config();
    c.limits.chunk_tokens_max = 16;
    c.limits.sequences_max = 2;
    c.limits.kv_pages = 25;
    return c;
  }
  LoopHarness h_{config()};
};

TEST_P(Cancel, BeforeItsFirstStep) {
  const RequestId id = h_.add({.prompt_ids = prompt(1, 100), .sampling = greedy(50)});
  end(id);
  h_.step();
  expect_ended(id);
  EXPECT_TRUE(h_.steps.empty());
}

TEST_P(Cancel, Queued) {
  for (uint64_t i = 0; i < 2; ++i) h_.add({.prompt_ids = prompt(i, 9), .sampling = greedy(50)});
  const RequestId id = h_.add({.prompt_ids = prompt(5, 9), .sampling = greedy(50)});
  h_.step();
  EXPECT_EQ(h_.loop.stats().waiting, 1);
  end(id);
  h_.step();
  expect_ended(id);
  EXPECT_EQ(h_.outcomes.of(id).finish->completion_tokens, 0);
}

TEST_P(Cancel, WaitingForPages) {
  h_.add({.prompt_ids = prompt(1, 150), .sampling = greedy(40)});
  const RequestId id = h_.add({.prompt_ids = prompt(2, 100), .sampling = greedy(40)});
  for (int i = 0; i < 3; ++i) h_.step();
  EXPECT_EQ(h_.loop.stats().running, 1);
  EXPECT_EQ(h_.loop.stats().waiting, 1);
  end(id);
  h_.step();
  expect_ended(id);
}

TEST_P(Cancel, InPrefill) {
  const RequestId id = h_.add({.prompt_ids = prompt(1, 100), .sampling = greedy(50)});
  h_.step();
  h_.step();
  EXPECT_EQ(h_.loop.cache().counts().used, 4);
  end(id);
  h_.step();
  expect_ended(id);
  EXPECT_EQ(h_.loop.cache().counts().used, 0) << "freed within one step";
}

TEST_P(Cancel, InDecode) {
  Request r{.prompt_ids = prompt(1, 10), .sampling = greedy(50)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  const RequestId id = h_.add(r);
  for (int i = 0; i < 5; ++i) h_.step();
  EXPECT_EQ(h_.outcomes.of(id).ids.size(), 5u);
  end(id);
  h_.step();
  expect_ended(id);
  EXPECT_EQ(h_.outcomes.of(id).ids.size(), 5u);
  EXPECT_EQ(h_.loop.cache().counts().used, 0);
}

TEST_P(Cancel, Preempted) {
  Request r{.prompt_ids = prompt(1, 90), .sampling = greedy(100)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  h_.add(r);
  r.prompt_ids = prompt(2, 70);
  const RequestId id = h_.add(r);
  while (h_.loop.stats().preemptions == 0) h_.step();
  EXPECT_EQ(h_.loop.stats().waiting, 1);
  end(id);
  h_.step();
  expect_ended(id);
  h_.run();
}

TEST_P(Cancel, AfterTheEnd) {
  const RequestId id = h_.add({.prompt_ids = prompt(1, 10), .sampling = greedy(2)});
  h_.run();
  const FinishReason before = h_.outcomes.of(id).finish->reason;
  end(id);
  end({12345});
  h_.step();
  EXPECT_EQ(h_.outcomes.of(id).finish->reason, before);
}

INSTANTIATE_TEST_SUITE_P(Reasons, Cancel,
                         ::testing::Values(FinishReason::kCancelled, FinishReason::kStop));

// ---- Time

TEST(Loop, ATimePerTokenTargetShrinksThePrefillBesideDecodes) {
  EngineConfig config = fake_config();
  config.tpot_target_ns = 30'000;
  LoopHarness h(config);
  h.runner.on_run = [&](const model::StepBatch& batch) {
    h.clock.advance_ns(5'000 + 1'000 * static_cast<int64_t>(batch.token_ids.size()));
  };
  Request decoding{.prompt_ids = prompt(1, 10), .sampling = greedy(150)};
  decoding.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  h.add(decoding);
  for (uint64_t i = 0; i < 60; ++i) {
    h.step();
    if (i % 10 == 0) h.add({.prompt_ids = prompt(50 + i, 150), .sampling = greedy(1)});
  }
  std::vector<int64_t> chunks;
  for (const LoggedStep& s : h.steps)
    if (s.record.step > 25 && s.count(StepPart::Kind::kPrefill) > 0)
      chunks.push_back(s.tokens(StepPart::Kind::kPrefill));
  ASSERT_GT(chunks.size(), 5u);
  EXPECT_THAT(chunks, Each(Le(25))) << "30 µs hold a decode and 24 tokens of prefill";
  EXPECT_GE(*std::max_element(chunks.begin(), chunks.end()), 20);
}

// The mean time between two ends, from the first one on.
TEST(Loop, RetryAfterIsTheTimeBetweenEnds) {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 1;
  LoopHarness h(config);
  h.runner.on_run = [&](const model::StepBatch&) { h.clock.advance_ns(5'000'000'000); };
  const Request r{.prompt_ids = prompt(1, 10), .sampling = greedy(1)};
  for (int i = 0; i < 2; ++i) h.add(r);
  EXPECT_EQ(h.loop.stats().retry_after_ns, 0) << "nothing is known";
  h.run();
  EXPECT_NEAR(static_cast<double>(h.loop.stats().retry_after_ns), 5e9, 1e4);
  h.runner.on_run = [&](const model::StepBatch&) { h.clock.advance_ns(1'000'000'000); };
  for (int i = 0; i < 2; ++i) h.add(r);
  h.run();
  EXPECT_NEAR(static_cast<double>(h.loop.stats().retry_after_ns), 0.9 * 5e9 + 0.1 * 1e9, 1e5);
}

// One prefill of 12 tokens and two decodes, at the work that the fake runner states.
TEST(Loop, StepsAreCountedBesideTheMachinesLimit) {
  EngineConfig config = fake_config();
  config.machine = {.read_bytes_per_s = 1e9, .operations_per_s = 1e9};
  LoopHarness h(config);
  h.runner.on_run = [&](const model::StepBatch&) { h.clock.advance_ns(2000); };
  Request r{.prompt_ids = prompt(4, 12), .sampling = greedy(3)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  (void)h.outcome(r);
  const EngineStats& stats = h.loop.stats();
  EXPECT_EQ(stats.steps, 3);
  EXPECT_DOUBLE_EQ(stats.step_s, 6e-6);
  EXPECT_DOUBLE_EQ(stats.step_read_bytes, 3 * 1000 + 10 * (12 + 13 + 14));
  EXPECT_DOUBLE_EQ(stats.step_operations, 300 * 14 + 50 * 3);
  EXPECT_DOUBLE_EQ(stats.step_limit_s, (12 * 300 + 50 + 1130 + 1140) * 1e-9);
}

TEST(Loop, TimesOfARequestAddUp) {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 1;
  LoopHarness h(config);
  h.runner.on_run = [&](const model::StepBatch&) { h.clock.advance_ns(1'000'000); };
  Request r{.prompt_ids = prompt(1, 10), .sampling = greedy(4)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  h.add(r);
  const RequestId second = h.add(r);
  h.run();
  const FinishEvent f = *h.outcomes.of(second).finish;
  EXPECT_NEAR(static_cast<double>(f.queue_ns), 4e6, 1e4);
  EXPECT_NEAR(static_cast<double>(f.prefill_ns), 1e6, 1e4);
  EXPECT_NEAR(static_cast<double>(f.decode_ns), 3e6, 1e4);
  EXPECT_EQ(h.loop.stats().time_to_first_token_s.count(), 2);
  EXPECT_NEAR(h.loop.stats().time_to_first_token_s.sum(), 6e-3, 1e-4);
  EXPECT_EQ(h.loop.stats().inter_token_s.count(), 6);
}

}  // namespace
}  // namespace sluice::engine::testing
