#include "core/turns.h"

#include <sched.h>

#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace sluice::core {
namespace {

struct Standing {
  int policy = 0;
  int nice = 0;
};

// Of a thread that has asked.
Standing after(void (*ask)()) {
  Standing standing;
  std::thread([&] {
    ask();
    standing = {sched_getscheduler(0), getpriority(PRIO_PROCESS, 0)};
  }).join();
  return standing;
}

TEST(Turns, OnlyAThreadOfNormalPriorityChanges) {
  const int policy = sched_getscheduler(0);
  const bool normal = policy == SCHED_OTHER;
  EXPECT_EQ(after(give_way).policy, normal ? SCHED_IDLE : policy);
  EXPECT_EQ(after(wake_without_haste).policy, normal ? SCHED_BATCH : policy);
  EXPECT_EQ(after(ask_for_short_turns).policy, policy);
}

TEST(Turns, TheShareOfTheCoreStays) {
  const int nice = getpriority(PRIO_PROCESS, 0);
  for (const auto ask : {give_way, wake_without_haste, ask_for_short_turns})
    EXPECT_EQ(after(ask).nice, nice);
}

}  // namespace
}  // namespace sluice::core
