#include "server/activity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::server {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Activity, NothingIsSaidOfAnIdleMinute) {
  engine::EngineStats before;
  before.steps = 7;
  EXPECT_EQ(activity_line(before, before, 60'000'000'000), "");
}

TEST(Activity, DifferencesAndTheShareOfTheLimit) {
  engine::EngineStats before;
  before.steps = 100;
  before.step_s = 50;
  before.step_limit_s = 10;
  before.generation_tokens = 1000;
  before.finished[0] = 4;
  engine::EngineStats now = before;
  now.steps = 300;
  now.step_s = 80;
  now.step_limit_s = 34;
  now.generation_tokens = 7000;
  now.iteration_tokens.add(1200);
  now.finished[0] = 9;
  now.running = 3;
  now.waiting = 2;
  EXPECT_EQ(activity_line(before, now, 60'000'000'000),
            "last 60 s: 5 requests ended, 20 tokens/s computed, 100 tokens/s generated, 3 running, "
            "2 waiting, computing 50 % of the time, 80 % of the machine's limit");
  now.step_limit_s = before.step_limit_s = 0;
  EXPECT_THAT(activity_line(before, now, 60'000'000'000), Not(HasSubstr("limit")));
}

}  // namespace
}  // namespace sluice::server
