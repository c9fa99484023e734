#include "core/cpu.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace sluice::core {
namespace {

// A cgroup v2 mount in a folder of its own.
class CgroupCores : public testing::Test {
 protected:
  void SetUp() override {
    mount_ = testing::TempDir() + "cgroup_cores";
    std::filesystem::remove_all(mount_);
  }
  void TearDown() override { std::filesystem::remove_all(mount_); }

  void set(const std::string& group, const std::string& cpu_max) {
    std::filesystem::create_directories(mount_ + group);
    std::ofstream(mount_ + group + "/cpu.max") << cpu_max;
  }
  std::optional<int> of(std::string_view own_groups) { return cgroup_cores(own_groups, mount_); }

  std::string mount_;
};

TEST_F(CgroupCores, NoQuotaIsNone) {
  EXPECT_EQ(of("0::/\n"), std::nullopt) << "no file";
  set("", "max 100000\n");
  EXPECT_EQ(of("0::/\n"), std::nullopt);
}

TEST_F(CgroupCores, WholeCoresAndAtLeastOne) {
  set("", "350000 100000\n");
  EXPECT_EQ(of("0::/\n"), 3);
  set("", "20000 100000\n");
  EXPECT_EQ(of("0::/\n"), 1);
}

TEST_F(CgroupCores, TheLeastOnTheWayToTheRootCounts) {
  set("/service", "400000 100000\n");
  set("/service/worker", "max 100000\n");
  set("/other", "100000 100000\n");
  EXPECT_EQ(of("0::/service/worker\n"), 4);
  EXPECT_EQ(of("12:cpu:/other\n0::/service/worker\n"), 4) << "version 1 lines do not count";
  set("/service/worker", "200000 100000\n");
  EXPECT_EQ(of("0::/service/worker"), 2);
  EXPECT_EQ(of("0::/../service"), std::nullopt) << "outside of the namespace: the root's";
}

TEST_F(CgroupCores, WhatIsNoNumberIsNoQuota) {
  for (const char* text : {"", "100000", "x 100000", "100000 x", "100000 0", "-5 100000",
                           "99999999999999999999999999 100000"}) {
    set("", text);
    EXPECT_EQ(of("0::/"), std::nullopt) << text;
  }
  set("", "9223372036854775807 1");
  EXPECT_GT(*of("0::/"), 1000);
}

TEST(SecondCache, IsThere) {
  EXPECT_GE(second_cache_bytes(), 64 << 10);
  EXPECT_LE(second_cache_bytes(), int64_t{1} << 30);
}

TEST(DetectCpu, FindsACore) {
  EXPECT_GE(detect_cpu().cores, 1);
}

}  // namespace
}  // namespace sluice::core
