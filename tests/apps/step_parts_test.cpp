// Tables of a report: every byte and every microsecond of a step is in one part.
#include "apps/bench/step_parts.h"

#include <gtest/gtest.h>

#include "core/clock.h"

namespace sluice::apps {
namespace {

const PartTime& row_of(const std::vector<PartTime>& times, std::string_view part,
                       std::string_view place) {
  for (const PartTime& time : times)
    if (time.part == part && time.place == place) return time;
  static const PartTime kNone;
  ADD_FAILURE() << "no part '" << part << "' of the " << place;
  return kNone;
}

// Of the rows of one place.
double us_of(const std::vector<PartTime>& times, std::string_view place) {
  double us = 0;
  for (const PartTime& time : times) us += time.place == place ? time.us : 0;
  return us;
}

StepShares hybrid_shares() {
  const core::SystemClock clock;
  model::StepProfile profile{.clock = clock, .threads = std::vector<model::StepTimes>(2)};
  for (model::StepTimes& times : profile.threads)
    times = {.linear_ns = 600'000, .rows_ns = 20'000, .waiting_ns = 100'000, .device_ns = 200'000};
  for (size_t p = 0; p < profile.queue_ns.size(); ++p)
    profile.queue_ns[p] = static_cast<int64_t>(p + 1) * 1'000;
  profile.queue_ns[static_cast<size_t>(model::QueuePart::kAnswer)] = 700'000;
  return step_shares(profile, 2, 500);
}

TEST(StepParts, AHybridStepIsItsDevicesPartsWithTheProcessorsBesideThem) {
  const std::vector<PartRead> reads = {{"attention", "device", 4e6, 1},
                                       {"attention's heads", "device", 1e6, 0.25},
                                       {"dense ffn", "device", 3e6, 0.75},
                                       {"router", "device", 2e6, 0.5},
                                       {"shared experts", "device", 5e6, 1.25},
                                       {"experts", "processor", 24e6, 240},
                                       {"experts", "device", 8e6, 2},
                                       {"output", "device", 6e6, 1.5},
                                       {"norms and biases", "device", 1e4, 0.0025},
                                       {"keys and values", "device", 9e6, 2.25}};
  const StepShares shares = hybrid_shares();
  const std::vector<PartTime> times = times_of_parts({.reads = reads,
                                                      .forward = shares,
                                                      .has_device = true,
                                                      .is_hybrid = true,
                                                      .sampling_us = 3,
                                                      .other_us = 4});
  EXPECT_NEAR(us_of(times, "device"), 500, 1e-9);
  EXPECT_NEAR(us_of(times, "processor"), 500, 1e-9);
  EXPECT_EQ(us_of(times, "engine"), 7);
  double read_bytes = 0, part_bytes = 0;
  for (const PartRead& read : reads) read_bytes += read.bytes;
  for (const PartTime& time : times) part_bytes += time.bytes;
  EXPECT_EQ(part_bytes, read_bytes);

  const PartTime& attention = row_of(times, "attention", "device");
  EXPECT_EQ(attention.us, 1);
  EXPECT_EQ(attention.bytes, 10e6);
  EXPECT_EQ(row_of(times, "products around attention", "device").bytes, 4.01e6);
  EXPECT_EQ(row_of(times, "dense ffn", "device").roof_share(), 0.5);
  const PartTime& resident = row_of(times, "routed experts", "device");
  EXPECT_EQ(resident.bytes, 8e6);
  EXPECT_EQ(row_of(times, "waiting for the processor", "device").us, 350);
  const PartTime& experts = row_of(times, "routed experts", "processor");
  EXPECT_EQ(experts.us, 300);
  EXPECT_EQ(experts.bytes, 24e6);
  EXPECT_EQ(experts.roof_share(), 0.8);
}

// Steps of more rows than are recorded.
TEST(StepParts, AQueueWithoutClocksIsOnePart) {
  const std::vector<PartRead> reads = {{"attention", "device", 4e6, 1},
                                       {"keys and values", "device", 9e6, 2.25}};
  const StepShares shares{.whole_us = 13};
  const std::vector<PartTime> times =
      times_of_parts({.reads = reads, .forward = shares, .has_device = true});
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(row_of(times, "forward pass", "device").roof_share(), 0.25);
}

TEST(StepParts, AProcessorsStepHasProductsAndAttention) {
  const std::vector<PartRead> reads = {{"attention", "processor", 4e6, 40},
                                       {"experts", "processor", 6e6, 60},
                                       {"keys and values", "processor", 9e6, 90}};
  const StepShares shares{.whole_us = 400, .linear_us = 200, .attention_us = 120, .rows_us = 30};
  const std::vector<PartTime> times = times_of_parts({.reads = reads, .forward = shares});
  EXPECT_EQ(us_of(times, "processor"), 400);
  EXPECT_EQ(row_of(times, "products with weights", "processor").roof_share(), 0.5);
  EXPECT_EQ(row_of(times, "attention", "processor").roof_share(), 0.75);
}

}  // namespace
}  // namespace sluice::apps
