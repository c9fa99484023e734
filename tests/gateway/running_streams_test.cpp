#include "gateway/routing/running_streams.h"

#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

constexpr PacePromise kPromise = {60e6F, 100.0F};

TEST(running_streams, shows_how_far_each_has_come) {
  RunningStreams running;
  std::vector<RunningStream> seen(4);
  EXPECT_EQ(running.look(0, seen), 0u);
  const int32_t place = running.enter(kPromise);
  ASSERT_EQ(running.look(5, seen), 1u);
  EXPECT_EQ(seen[0].since_first_ns, 0.0) << "no token yet";
  EXPECT_EQ(seen[0].promise.tpot_limit_ns, kPromise.tpot_limit_ns);
  running.first_token(place, 100);
  running.tokens(place, 7);
  ASSERT_EQ(running.look(350, seen), 1u);
  EXPECT_EQ(seen[0].since_first_ns, 250.0);
  EXPECT_EQ(seen[0].tokens, 7.0);
  running.leave(place);
  EXPECT_EQ(running.look(400, seen), 0u);
}

TEST(running_streams, a_place_begins_anew) {
  RunningStreams running;
  std::vector<RunningStream> seen(1);
  std::set<int32_t> places;
  for (int i = 0; i < 2 * RunningStreams::kPlaces; ++i) {
    const int32_t place = running.enter({});
    places.insert(place);
    ASSERT_EQ(running.look(9, seen), 1u);
    EXPECT_EQ(seen[0].tokens, 0.0);
    running.first_token(place, 1);
    running.tokens(place, 50);
    running.leave(place);
  }
  EXPECT_EQ(places.size(), static_cast<size_t>(RunningStreams::kPlaces));
}

TEST(running_streams, draws_evenly_where_there_are_too_many) {
  RunningStreams running;
  for (int i = 0; i < 100; ++i) running.tokens(running.enter({}), i);
  for (const size_t most : {size_t{1}, size_t{7}, size_t{50}, size_t{64}, size_t{99}}) {
    std::vector<RunningStream> seen(most);
    const size_t count = running.look(0, seen);
    EXPECT_GE(2 * count, most) << most;
    EXPECT_LE(count, most);
  }
}

TEST(running_streams, those_beyond_its_places_run_unseen) {
  RunningStreams running;
  for (int i = 0; i < RunningStreams::kPlaces; ++i)
    ASSERT_NE(running.enter({}), RunningStreams::kNowhere);
  const int32_t unseen = running.enter({});
  EXPECT_EQ(unseen, RunningStreams::kNowhere);
  running.first_token(unseen, 1);
  running.tokens(unseen, 2);
  running.leave(unseen);
  running.leave(3);
  EXPECT_EQ(running.enter({}), 3) << "the one that is free";
}

TEST(running_streams, no_place_is_given_twice) {
  RunningStreams running;
  const auto work = [&](uint64_t seed) {
    core::Rng rng(seed);
    std::vector<int32_t> held;
    std::vector<RunningStream> seen(16);
    for (int i = 0; i < 3000; ++i) {
      if (rng.below(2) == 0 && !held.empty()) {
        running.leave(held.back());
        held.pop_back();
      } else if (const int32_t place = running.enter(kPromise); place != RunningStreams::kNowhere) {
        held.push_back(place);
        running.first_token(place, i + 1);
        running.tokens(place, i);
      }
      if (i % 100 == 0) running.look(i, seen);
    }
    return held;
  };
  std::vector<std::vector<int32_t>> held(3);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < held.size(); ++i) threads.emplace_back([&, i] { held[i] = work(20 + i); });
  for (std::thread& thread : threads) thread.join();
  std::set<int32_t> places;
  size_t count = 0;
  for (const auto& one : held) {
    places.insert(one.begin(), one.end());
    count += one.size();
  }
  EXPECT_EQ(places.size(), count);
  for (const int32_t place : places) running.leave(place);
  std::vector<RunningStream> seen(16);
  EXPECT_EQ(running.look(0, seen), 0u);
}

}  // namespace
}  // namespace sluice::gateway
