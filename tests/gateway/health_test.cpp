#include "gateway/routing/health.h"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::gateway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(health, five_errors_in_a_row_eject_for_longer_each_time) {
  Health health;
  for (int i = 0; i < 4; ++i) health.on_outcome(UpstreamOutcome::kServerError, kSecond);
  EXPECT_FALSE(health.out(kSecond));
  health.on_outcome(UpstreamOutcome::kComplete, kSecond);
  for (int i = 0; i < 4; ++i) health.on_outcome(UpstreamOutcome::kConnectError, kSecond);
  EXPECT_FALSE(health.out(kSecond)) << "a success between counts";
  health.on_outcome(UpstreamOutcome::kServerError, kSecond);
  EXPECT_TRUE(health.out(kSecond));
  EXPECT_TRUE(health.out(30 * kSecond));
  EXPECT_FALSE(health.out(31 * kSecond));
  health.on_outcome(UpstreamOutcome::kTimeout, 31 * kSecond);
  EXPECT_EQ(health.ejected_until_ns(), 91 * kSecond) << "once more is enough, twice as long";
}

TEST(health, a_quiet_time_forgives) {
  Health health;
  health.on_outcome(UpstreamOutcome::kStalled, 0);
  EXPECT_EQ(health.ejections(), 1);
  health.on_outcome(UpstreamOutcome::kComplete, 59 * kSecond);
  EXPECT_EQ(health.ejections(), 1);
  health.on_outcome(UpstreamOutcome::kComplete, 60 * kSecond);
  EXPECT_EQ(health.ejections(), 0);
}

TEST(health, neither_a_bad_request_nor_load_ejects) {
  Health health;
  for (int i = 0; i < 100; ++i)
    for (const int status : {400, 413, 404, 422, 429})
      health.on_outcome(outcome_of_status(status, RetryAfter::kMissing), kSecond);
  for (int i = 0; i < 100; ++i)
    health.on_outcome(outcome_of_status(503, RetryAfter::kGiven), kSecond);
  EXPECT_FALSE(health.out(kSecond));
  EXPECT_EQ(outcome_of_status(503, RetryAfter::kMissing), UpstreamOutcome::kServerError);
  EXPECT_EQ(outcome_of_status(408, RetryAfter::kMissing), UpstreamOutcome::kServerError);
}

TEST(health, probes_take_three_failures_down_and_two_successes_up) {
  Health health;
  EXPECT_TRUE(health.probe_due(0));
  health.on_probe(ProbeResult::kDown, 0);
  health.on_probe(ProbeResult::kDown, 1);
  EXPECT_FALSE(health.out(1));
  health.on_probe(ProbeResult::kDown, 2);
  EXPECT_TRUE(health.out(2));
  EXPECT_FALSE(health.probe_due(3));
  EXPECT_TRUE(health.probe_due(2 + Health::kProbeIntervalDownNs));
  health.on_probe(ProbeResult::kUp, 3);
  EXPECT_TRUE(health.out(3));
  health.on_probe(ProbeResult::kUp, 4);
  EXPECT_FALSE(health.out(4));
  EXPECT_FALSE(health.probe_due(4 + Health::kProbeIntervalNs - 1));
}

TEST(health, an_outlier_is_ejected_after_half_a_minute) {
  Health health;
  for (int64_t s = 1; s < 31; ++s) health.on_ttft(3.5, 1.0, s * kSecond);
  EXPECT_FALSE(health.out(30 * kSecond));
  health.on_ttft(3.5, 1.0, 31 * kSecond);
  EXPECT_TRUE(health.out(31 * kSecond));
  Health well;
  for (int64_t s = 1; s < 100; ++s) well.on_ttft(s % 20 == 0 ? 1.0 : 3.5, 1.0, s * kSecond);
  EXPECT_FALSE(well.out(100 * kSecond));
}

TEST(retry, only_before_the_first_byte_and_three_times) {
  using enum UpstreamOutcome;
  for (const auto outcome : {kBusy, kServerError, kConnectError, kTimeout}) {
    EXPECT_EQ(may_retry(outcome, FirstByte::kHeldBack, 1), Retry::kElsewhere);
    EXPECT_EQ(may_retry(outcome, FirstByte::kHeldBack, kTriesMax), Retry::kNo);
    EXPECT_EQ(may_retry(outcome, FirstByte::kPassedOn, 1), Retry::kNo);
  }
  for (const auto outcome : {kComplete, kClientGone, kRefused, kBroken, kStalled})
    EXPECT_EQ(may_retry(outcome, FirstByte::kHeldBack, 1), Retry::kNo);
}

std::vector<uint8_t> out_of(const std::vector<std::unique_ptr<Health>>& pool, int64_t now_ns) {
  std::vector<const Health*> views;
  for (const auto& health : pool) views.push_back(health.get());
  std::vector<uint8_t> out(pool.size());
  select_out(views, now_ns, out);
  return out;
}

TEST(select_out, leaves_out_half_of_few_a_tenth_of_many_and_never_all) {
  EXPECT_EQ(ejected_max(1), 1);
  EXPECT_EQ(ejected_max(4), 2);
  EXPECT_EQ(ejected_max(5), 1);
  EXPECT_EQ(ejected_max(40), 4);
  std::vector<std::unique_ptr<Health>> pool;
  for (int i = 0; i < 4; ++i) pool.push_back(std::make_unique<Health>());
  for (int i = 0; i < 3; ++i)
    pool[static_cast<size_t>(i)]->on_outcome(UpstreamOutcome::kStalled, i);
  EXPECT_EQ(out_of(pool, 10), (std::vector<uint8_t>{1, 1, 0, 0})) << "the last one comes back";
  for (int i = 0; i < 3; ++i) {
    pool[2]->on_probe(ProbeResult::kDown, 20);
    pool[3]->on_probe(ProbeResult::kDown, 20);
  }
  EXPECT_EQ(out_of(pool, 30), (std::vector<uint8_t>{0, 0, 0, 0})) << "all out: fail open";
}

}  // namespace
}  // namespace sluice::gateway
