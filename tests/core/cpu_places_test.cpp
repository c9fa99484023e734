#include "core/cpu_places.h"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

namespace sluice::core {
namespace {

// Two nodes of two cores of two hyperthreads, numbered as Linux does: siblings last.
std::vector<CpuPlace> two_nodes() {
  std::vector<CpuPlace> places;
  for (int cpu = 0; cpu < 8; ++cpu)
    places.push_back({.cpu = cpu, .node = cpu % 2, .core = cpu % 4});
  return places;
}

TEST(CpuPlaces, NeighboursShareANode) {
  EXPECT_EQ(cpus_of_threads(two_nodes(), 4), (std::vector<int>{0, 2, 1, 3}));
}

TEST(CpuPlaces, AllHyperthreadsOfANodeComeTogether) {
  EXPECT_EQ(cpus_of_threads(two_nodes(), 8), (std::vector<int>{0, 4, 2, 6, 1, 5, 3, 7}));
}

TEST(CpuPlaces, ASecondHyperthreadComesAfterEveryCore) {
  EXPECT_EQ(cpus_of_threads(two_nodes(), 5), (std::vector<int>{0, 4, 2, 1, 3}));
}

TEST(CpuPlaces, APoolOfAPartOfTheMachineIsNotPinned) {
  EXPECT_TRUE(cpus_of_threads(two_nodes(), 3).empty());
  EXPECT_TRUE(cpus_of_threads(two_nodes(), 9).empty());
  EXPECT_TRUE(cpus_of_threads({}, 1).empty());
}

TEST(CpuPlaces, TheSystemsFoldersAreRead) {
  const std::filesystem::path root =
      std::filesystem::path(testing::TempDir()) / "sluice_cpu_places";
  std::filesystem::remove_all(root);
  for (const CpuPlace& here : allowed_places("/nowhere")) {
    EXPECT_EQ(here.node, 0);
    EXPECT_EQ(here.core, here.cpu);
    const auto folder = root / "cpu" / ("cpu" + std::to_string(here.cpu));
    std::filesystem::create_directories(folder / "topology");
    std::filesystem::create_directories(folder / ("node" + std::to_string(here.cpu + 3)));
    std::ofstream(folder / "topology" / "core_id") << 7 << '\n';
    std::ofstream(folder / "topology" / "physical_package_id") << 1 << '\n';
  }
  const std::vector<CpuPlace> places = allowed_places(root);
  ASSERT_FALSE(places.empty());
  for (const CpuPlace& place : places) {
    EXPECT_EQ(place.node, place.cpu + 3);
    EXPECT_EQ(place.core, (1 << 16) + 7);
  }
  std::filesystem::remove_all(root);
}

TEST(CpuPlaces, APinnedThreadStays) {
  const std::vector<CpuPlace> places = allowed_places(kSystemDevices);
  ASSERT_FALSE(places.empty());
  const int cpu = places.back().cpu;
  std::thread([cpu] {
    pin_this_thread(cpu);
    EXPECT_EQ(sched_getcpu(), cpu);
  }).join();
}

}  // namespace
}  // namespace sluice::core
