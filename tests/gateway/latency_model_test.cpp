#include "gateway/routing/latency_model.h"

#include <cmath>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

using contract::Statistic;

contract::Speed speed_of(double alone, double together, int64_t streams_max) {
  contract::Speed speed;
  speed.prefill_tokens_per_s = 1000.0;
  speed.decode_tokens_per_s = alone;
  speed.decode_tokens_per_s_max = together;
  speed.streams_max = streams_max;
  return speed;
}

ReplicaView view_of(const contract::Speed& speed, int64_t streams) {
  const TpotSurface surface(speed);
  ReplicaView view;
  view.prefill_tokens_per_s = speed.prefill_tokens_per_s;
  view.streams = streams;
  view.streams_max = speed.streams_max;
  view.output_tokens_left = streams * 50;
  view.tpot_next_ns = surface.at_ns(static_cast<double>(streams + 1));
  view.tpot_full_ns = surface.at_ns(static_cast<double>(speed.streams_max));
  view.ttft.variance = view.tpot.variance = view.total.variance = 0.01F;
  return view;
}

TEST(log_ratio, finds_mean_and_spread) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  core::Rng rng(seed);
  LogRatio ratio(0.5F);
  for (int i = 0; i < 500; ++i) {
    const double normal =
        std::sqrt(-2.0 * std::log(1.0 - rng.unit())) * std::cos(2.0 * M_PI * rng.unit());
    ratio.add(2.0 * std::exp(0.1 * normal), 1.0);
  }
  EXPECT_NEAR(ratio.value().mean, std::log(2.0), 0.05);
  EXPECT_NEAR(std::sqrt(ratio.value().variance), 0.1, 0.03);
  ratio.forget();
  EXPECT_EQ(ratio.value().mean, 0.0F);
  EXPECT_FLOAT_EQ(ratio.value().variance, 0.25F);
}

TEST(log_ratio, learns_nothing_from_nothing) {
  LogRatio ratio(0.5F);
  ratio.add(0.0, 1.0);
  ratio.add(1.0, 0.0);
  EXPECT_EQ(ratio.count(), 0);
}

TEST(tpot_surface, is_the_line_of_its_speed_before_anything_is_seen) {
  const TpotSurface surface(speed_of(50.0, 500.0, 64));
  EXPECT_NEAR(surface.at_ns(1), 20e6, 1e3);
  EXPECT_NEAR(surface.at_ns(64), 128e6, 1e3);
  EXPECT_NEAR(surface.at_ns(0), 20e6, 1e3);
}

TEST(tpot_surface, follows_what_is_seen_and_stays_monotone) {
  const uint64_t seed = 11;
  SCOPED_TRACE(seed);
  core::Rng rng(seed);
  TpotSurface surface(speed_of(50.0, 500.0, 64));
  for (int i = 0; i < 400; ++i) {
    const double streams = 1.0 + static_cast<double>(rng.below(64));
    surface.add(streams, 30e6 * (0.9 + 0.2 * rng.unit()));  // flat, whatever the streams
  }
  double before = 0.0;
  for (double streams = 1.0; streams < 2000.0; streams *= 1.3) {
    EXPECT_GE(surface.at_ns(streams), before) << streams;
    before = surface.at_ns(streams);
  }
  EXPECT_NEAR(surface.at_ns(1), 30e6, 4e6);
  EXPECT_NEAR(surface.at_ns(60), 31e6, 5e6);
}

TEST(tpot_surface, a_knot_that_nobody_has_seen_is_as_wrong_as_the_nearest) {
  const contract::Speed speed = speed_of(50.0, 500.0, 64);
  const TpotSurface line(speed);
  TpotSurface surface(speed);
  surface.add(4, 2.0 * line.at_ns(4));
  surface.add(64, 3.0 * line.at_ns(64));
  const double ratios[][2] = {{1, 2.0}, {4, 2.0}, {8, 2.0}, {16, 2.0}, {32, 3.0}, {1024, 3.0}};
  for (const auto& [streams, ratio] : ratios)
    EXPECT_NEAR(surface.at_ns(streams) / line.at_ns(streams), ratio, 1e-4) << streams;
  surface.forget();
  EXPECT_EQ(surface.at_ns(32), line.at_ns(32));
}

TEST(predict, adds_round_trip_queue_prefill_and_decode) {
  ReplicaView view = view_of(speed_of(50.0, 500.0, 64), 0);
  view.round_trip_ns = 5'000'000;
  view.queued_prompt_tokens = 300;
  const TokenEstimate tokens{200, 11, 11};
  const Latency raw = predict_raw(view, tokens, 100);
  EXPECT_NEAR(raw.ttft_ns, 5e6 + 0.4e9, 1.0);
  EXPECT_NEAR(raw.tpot_ns, 20e6, 1.0);
  EXPECT_NEAR(raw.total_ns, raw.ttft_ns + 10 * 20e6, 1.0);
  view.tpot.mean = std::log(2.0F);
  EXPECT_NEAR(predict(view, tokens, 100).total_ns, raw.ttft_ns + 10 * 40e6, 1e3);
}

TEST(predict, waits_for_a_place_and_for_a_replica_that_starts) {
  ReplicaView view = view_of(speed_of(50.0, 500.0, 64), 63);
  EXPECT_EQ(place_wait_ns(view), 0);
  view.streams = 64;
  const int64_t one = place_wait_ns(view);
  EXPECT_GT(one, 0);
  view.streams = 65;
  EXPECT_GT(place_wait_ns(view), one);
  view.streams = 0;
  view.ready_in_ns = 3'000'000'000;
  EXPECT_EQ(place_wait_ns(view), 3'000'000'000);
}

// Twenty streams with 1 to 20 tokens left, in any order: the k-th end is k tokens away.
TEST(predict, a_place_is_free_when_a_stream_ends) {
  ReplicaView view = view_of(speed_of(50.0, 500.0, 20), 20);
  const double step_ns = view.tpot_full_ns;
  view.output_tokens_left = 20 * 21 / 2;
  EXPECT_NEAR(static_cast<double>(place_wait_ns(view)), step_ns, 1.0);
  view.streams = 1;
  view.streams_max = 1;
  view.output_tokens_left = 30;
  EXPECT_NEAR(static_cast<double>(place_wait_ns(view)), 30.0 * step_ns, 1.0);
  view.streams_max = 20;
  EXPECT_EQ(place_wait_ns(view), 0);
  view.kv_share = 0.8;
  EXPECT_NEAR(static_cast<double>(place_wait_ns(view)), 30.0 * step_ns, 1.0) << "its KV is full";
}

TEST(expected_miss, is_one_where_the_chance_is_the_goal) {
  const ReplicaView view = view_of(speed_of(50.0, 500.0, 64), 0);  // spread 0.1
  Latency predicted{1e9, 50e6, 3e9};
  contract::Target target;
  target.ttft = {static_cast<int64_t>(1e9 * std::exp(0.1 * 2.3263)), Statistic::kP99};
  EXPECT_NEAR(expected_miss(target, predicted, view), 1.0, 0.01);
  target.tpot = {static_cast<int64_t>(50e6 * std::exp(0.1 * 2.3263)), Statistic::kP99};
  EXPECT_NEAR(expected_miss(target, predicted, view), 2.0, 0.02);
  target = {};
  target.total = {3'000'000'000, Statistic::kP50};
  EXPECT_NEAR(expected_miss(target, predicted, view), 1.0, 1e-6);
  const double mean_ns = 3e9 * std::exp(0.1 * 0.1 / 2);
  target.total = {static_cast<int64_t>(mean_ns), Statistic::kMean};
  EXPECT_NEAR(expected_miss(target, predicted, view), 1.0, 1e-3);
  EXPECT_EQ(expected_miss({}, predicted, view), 0.0);
}

TEST(target, is_met_part_by_part) {
  contract::Target target;
  EXPECT_FALSE(has_target(target));
  EXPECT_TRUE(target_met(target, {1e18, 1e18, 1e18}));
  target.tpot = {100, Statistic::kMean};
  EXPECT_EQ(strictest_statistic(target), Statistic::kMean);
  target.ttft = {100, Statistic::kP50};
  EXPECT_EQ(strictest_statistic(target), Statistic::kP50);
  EXPECT_TRUE(target_met(target, {100, 100, 1e18}));
  EXPECT_FALSE(target_met(target, {101, 100, 0}));
  EXPECT_FALSE(target_met(target, {100, 101, 0}));
}

}  // namespace
}  // namespace sluice::gateway
