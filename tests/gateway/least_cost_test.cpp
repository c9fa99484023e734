// Of replicas that would all do: the cheapest, or the better of two where nobody has news.
#include <map>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "gateway/routing/valve.h"

namespace sluice::gateway {
namespace {

constexpr int kCandidates = 5;
constexpr int kDraws = 5000;

// Each is busier than the one before.
struct Replicas {
  Replicas() {
    facts.tokens = {100, 100, 100};
    for (int i = 0; i < kCandidates; ++i) {
      Candidate& one = candidates.emplace_back();
      one.view.prefill_tokens_per_s = 1000.0;
      one.view.tpot_next_ns = one.view.tpot_full_ns = 1e6 * (1 + i);
      one.view.streams_max = 64;
      all.push_back(i);
    }
  }
  void set_age(int64_t age_ns) {
    for (Candidate& one : candidates) one.view.news_age_ns = age_ns;
  }
  // How often each is taken.
  std::map<int32_t, int> taken() {
    core::Rng rng(5);
    std::map<int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i)
      ++counts[least_cost({&facts, candidates, {}, 0, rng.bits()}, all)];
    return counts;
  }
  RouteFacts facts;
  std::vector<Candidate> candidates;
  std::vector<int32_t> all;
};

TEST(least_cost, with_news_is_the_least) {
  Replicas replicas;
  replicas.set_age(kStaleNs);
  EXPECT_EQ(replicas.taken(), (std::map<int32_t, int>{{0, kDraws}}));
  replicas.set_age(kStaleNs + 1);
  replicas.candidates[3].view.news_age_ns = 0;
  EXPECT_EQ(replicas.taken(), (std::map<int32_t, int>{{0, kDraws}})) << "one has told";
}

// The better of two drawn from n is the best with 2 in n, and never the worst.
TEST(least_cost, without_news_is_the_better_of_two) {
  Replicas replicas;
  replicas.set_age(kStaleNs + 1);
  const auto counts = replicas.taken();
  EXPECT_FALSE(counts.contains(kCandidates - 1));
  for (int i = 0; i < kCandidates - 1; ++i) {
    const double share = 2.0 * (kCandidates - 1 - i) / (kCandidates * (kCandidates - 1));
    EXPECT_NEAR(counts.at(i), share * kDraws, 0.15 * kDraws * share) << i;
  }
}

TEST(least_cost, a_prefix_is_looked_at_whatever_is_drawn) {
  Replicas replicas;
  replicas.set_age(kStaleNs + 1);
  replicas.facts.tokens.prompt_tokens = 5000;
  replicas.candidates[4].cached_tokens = 5000;
  EXPECT_EQ(replicas.taken(), (std::map<int32_t, int>{{4, kDraws}}));
}

}  // namespace
}  // namespace sluice::gateway
