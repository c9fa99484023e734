#include "gateway/routing/forecast.h"

#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "gateway/routing/pace_model.h"

namespace sluice::gateway {
namespace {

constexpr PacePromise kPromise = {60e6F, 100.0F};  // 60 ms, p99

// An engine that keeps 60 ms with 54 streams: 16 + 54 · 0.8.
constexpr Pace kPace = {.step_ns = 16e6, .stream_ns = 0.8e6, .prompt_token_ns = 0.125e6};

class forecast : public ::testing::Test {
 protected:
  forecast() {
    for (int64_t tokens = 150; tokens < 450; ++tokens) lengths_.learn(tokens);
  }

  // So many streams halfway through, at so many nanoseconds a token until now.
  static std::vector<RunningStream> running(size_t count, double tpot_ns) {
    return std::vector<RunningStream>(
        count, {.since_first_ns = 150.0 * tpot_ns, .tokens = 150.0, .promise = kPromise});
  }

  double added(std::span<const RunningStream> streams, double prompt_tokens,
               double streams_each = 1.0) const {
    const LengthCurve curve(lengths_);
    return misses_added({.pace = kPace,
                         .lengths = &curve,
                         .streams = streams,
                         .streams_each = streams_each,
                         .prompt_tokens = prompt_tokens,
                         .promise = kPromise});
  }

  OutputHistogram lengths_;
};

TEST_F(forecast, lengths_go_on_as_those_that_ended_did) {
  const LengthCurve curve(lengths_);
  ASSERT_TRUE(curve.known());
  EXPECT_DOUBLE_EQ(curve.beyond(0.0), 300.0);
  EXPECT_DOUBLE_EQ(curve.beyond(100.0), 300.0);
  EXPECT_NEAR(curve.beyond(300.0) / curve.beyond(0.0), 0.5, 0.06);
  EXPECT_DOUBLE_EQ(curve.beyond(600.0), 0.0);
  EXPECT_DOUBLE_EQ(curve.beyond(1e9), 0.0);
  double before = curve.beyond(0.0);
  for (double tokens = 0.0; tokens < 600.0; tokens += 7.0) {
    EXPECT_LE(curve.beyond(tokens), before) << tokens;
    before = curve.beyond(tokens);
  }
  EXPECT_FALSE(LengthCurve(OutputHistogram()).known());
}

TEST_F(forecast, a_newcomer_is_free_where_there_is_room_and_dear_where_there_is_none) {
  EXPECT_LT(added(running(10, 30e6), 1000.0), 0.01);
  EXPECT_GT(added(running(120, 59e6), 1000.0), 10.0);
  double before = 0.0;
  for (size_t count = 10; count <= 70; count += 10) {
    const double now = added(running(count, 50e6), 1000.0);
    EXPECT_GE(now, before - 1e-9) << count;
    before = now;
  }
}

// The same load: what decides is whether those that run have time to spare.
TEST_F(forecast, those_that_run_pay_with_what_they_have_in_hand) {
  EXPECT_LT(added(running(50, 40e6), 1000.0), 0.1);
  EXPECT_GT(added(running(50, 59.5e6), 4000.0), 1.0);
}

TEST_F(forecast, what_is_lost_anyway_does_not_count) {
  EXPECT_LT(added(running(20, 200e6), 1000.0), 0.01);
}

TEST_F(forecast, without_a_promise_there_is_none_to_break) {
  std::vector<RunningStream> streams = running(100, 80e6);
  for (RunningStream& stream : streams) stream.promise = {};
  const LengthCurve curve(lengths_);
  EXPECT_EQ(misses_added({.pace = kPace, .lengths = &curve, .streams = streams}), 0.0);
}

TEST_F(forecast, a_sample_stands_for_the_others) {
  const double all = added(running(60, 55e6), 1000.0);
  EXPECT_GT(all, 0.1);
  EXPECT_NEAR(added(running(30, 55e6), 1000.0, 2.0), all, 1e-6 * all);
}

// ---- pace ---------------------------------------------------------------------------------------

TEST(pace_model, finds_what_a_token_costs_from_streams_under_changing_load) {
  const uint64_t seed = 5;
  SCOPED_TRACE(seed);
  core::Rng rng(seed);
  contract::Speed speed;  // half as fast as told, with less for each stream
  speed.decode_tokens_per_s = 125.0;
  speed.decode_tokens_per_s_max = 1000.0;
  speed.prefill_tokens_per_s = 16'000.0;
  speed.streams_max = 64;
  PaceModel model(speed);
  EXPECT_NEAR(model.pace().step_ns, 8e6, 1.0);
  EXPECT_NEAR(model.pace().stream_ns, (64e6 - 8e6) / 63.0, 1.0);
  for (int i = 0; i < 3000; ++i) {
    const auto tokens = 150 + static_cast<int64_t>(rng.below(300));
    const auto streams = 1 + static_cast<int64_t>(rng.below(60));
    const auto prompts = static_cast<int64_t>(rng.below(40'000));
    const double took_ns = kPace.step_ns * static_cast<double>(tokens) +
                           kPace.stream_ns * static_cast<double>(tokens * streams) +
                           kPace.prompt_token_ns * static_cast<double>(prompts);
    model.learn({.took_ns = static_cast<int64_t>(took_ns),
                 .tokens = tokens,
                 .tokens_of_all = tokens * streams,
                 .prompt_tokens_of_all = prompts});
  }
  EXPECT_NEAR(model.pace().step_ns, kPace.step_ns, 0.1 * kPace.step_ns);
  EXPECT_NEAR(model.pace().stream_ns, kPace.stream_ns, 0.1 * kPace.stream_ns);
  EXPECT_NEAR(model.pace().prompt_token_ns, kPace.prompt_token_ns, 0.1 * kPace.prompt_token_ns);
  model.forget();
  EXPECT_NEAR(model.pace().step_ns, 8e6, 1.0);
}

TEST(pace_model, learns_nothing_from_a_few_tokens_or_no_time) {
  PaceModel model(contract::Speed{});
  const double before_ns = model.pace().step_ns;
  model.learn({.took_ns = 1'000'000'000, .tokens = PaceModel::kTokensMin - 1, .tokens_of_all = 9});
  model.learn({.took_ns = 0, .tokens = 100, .tokens_of_all = 100});
  EXPECT_EQ(model.pace().step_ns, before_ns);
}

}  // namespace
}  // namespace sluice::gateway
