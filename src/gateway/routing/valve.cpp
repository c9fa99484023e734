#include "gateway/routing/valve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <memory_resource>
#include <utility>
#include <vector>

namespace sluice::gateway {
namespace {

using contract::Place;
using contract::Policy;
using contract::ValveDecision;

// Of what a decision among a few replicas writes down; of more, the rest is allocated.
constexpr size_t kRoomBytes = 2048;
constexpr int64_t kAskAgainLeastNs = 10'000'000;
// Who misses with this chance may still be in time. More than a half: while little is known of the
// lengths of answers, what a request asks for at most counts as what is expected.
constexpr double kLikelyMiss = 0.75;

// A candidate that may take the request, with what is expected of it.
struct Rated {
  int32_t index = 0;
  const Candidate* candidate = nullptr;
  Latency predicted;  // from the request's arrival
  double miss = 0.0;
  bool local = false;
  bool room = false;
  bool affordable = false;
};

Latency predict_from_arrival(const Candidate& candidate, const RouteFacts& facts) {
  Latency predicted = predict(candidate.view, facts.tokens, candidate.cached_tokens);
  predicted.ttft_ns += static_cast<double>(facts.waited_ns);
  predicted.total_ns += static_cast<double>(facts.waited_ns);
  return predicted;
}

std::pmr::vector<Rated> rate(const ValveInput& input, std::pmr::memory_resource* memory) {
  const RouteFacts& facts = *input.facts;
  std::pmr::vector<Rated> rated(memory);
  rated.reserve(input.candidates.size());
  for (size_t i = 0; i < input.candidates.size(); ++i) {
    const Candidate& candidate = input.candidates[i];
    if (!may_go(facts, *candidate.pool) || candidate.out) continue;
    Rated one;
    one.index = static_cast<int32_t>(i);
    one.candidate = &candidate;
    one.predicted = predict_from_arrival(candidate, facts);
    one.miss = expected_miss(facts.target, one.predicted, candidate.view);
    one.local = candidate.pool->place == Place::kLocal;
    one.room = candidate.view.ready_in_ns == 0 && saturation(candidate.view) < 1.0;
    one.affordable = !facts.budget_left || candidate.sale <= *facts.budget_left;
    rated.push_back(one);
  }
  return rated;
}

template <typename Predicate>
std::pmr::vector<int32_t> select(const std::pmr::vector<Rated>& rated, Predicate predicate) {
  std::pmr::vector<int32_t> chosen(rated.get_allocator());
  for (const Rated& one : rated)
    if (one.room && one.affordable && predicate(one)) chosen.push_back(one.index);
  return chosen;
}

// Of those with the least money, the one with the least time.
int32_t cheapest(const ValveInput& input, std::span<const int32_t> chosen) {
  const auto cost_of = [&](int32_t index) {
    return input.candidates[static_cast<size_t>(index)].cost;
  };
  const contract::NanoMoney least = cost_of(*std::ranges::min_element(chosen, {}, cost_of));
  std::vector<int32_t> equal;
  std::ranges::copy_if(chosen, std::back_inserter(equal),
                       [&](int32_t index) { return cost_of(index) == least; });
  return least_cost(input, equal);
}

// One decision, step by step as valve.h has them.
class Decision {
 public:
  explicit Decision(const ValveInput& input)
      : input_(input),
        facts_(*input.facts),
        rated_(rate(input, &memory_)),
        near_(&memory_),
        far_(&memory_) {
    statistic_ = strictest_statistic(facts_.target);
    const double allowed = input.valve.miss_allowed[static_cast<size_t>(statistic_)];
    near_ = select(rated_, [&](const Rated& one) { return one.local && one.miss <= allowed; });
    far_ = select(rated_, [](const Rated& one) { return !one.local && one.miss <= 1.0; });
  }

  ValveAnswer run() {
    if (rated_.empty()) return refuse_without_candidates();
    if (facts_.policy == Policy::kCheapest || facts_.policy == Policy::kFastest) {
      if (const auto answer = by_policy()) return *answer;
    } else if (const auto answer = local_first()) {
      return *answer;
    }
    if (const auto answer = likely()) return *answer;
    if (const auto answer = late()) return *answer;
    return wait_or_refuse();
  }

 private:
  std::optional<ValveAnswer> by_policy() const {
    std::pmr::vector<int32_t> chosen(near_, near_.get_allocator());
    chosen.insert(chosen.end(), far_.begin(), far_.end());
    if (chosen.empty()) return std::nullopt;
    const int32_t index =
        facts_.policy == Policy::kCheapest ? cheapest(input_, chosen) : least_cost(input_, chosen);
    return send(index, ValveDecision::kRemotePolicy);
  }

  std::optional<ValveAnswer> local_first() const {
    const bool overflow =
        !has_target(facts_.target) && !far_.empty() && (input_.valve.open || near_.empty());
    if (!near_.empty() && !overflow) {
      const int32_t index = least_cost(input_, near_);
      if (const auto home = stays_away(index)) return send(*home, ValveDecision::kRemoteSaturated);
      return send(index, ValveDecision::kLocal);
    }
    if (far_.empty()) return std::nullopt;
    const bool local_alive = std::ranges::any_of(rated_, [](const Rated& r) { return r.local; });
    const bool local_room =
        std::ranges::any_of(rated_, [](const Rated& r) { return r.local && r.room; });
    if (!local_alive) return send(cheapest(input_, far_), ValveDecision::kRemoteNoLocal);
    return send(cheapest(input_, far_), local_room && !overflow ? ValveDecision::kRemoteTarget
                                                                : ValveDecision::kRemoteSaturated);
  }

  // A conversation that overflowed, and to which nothing is promised, comes home when its first
  // token comes no later from there, prompt computed anew, than from where its prefix is.
  std::optional<int32_t> stays_away(int32_t local) const {
    if (has_target(facts_.target)) return std::nullopt;
    for (const int32_t index : far_) {
      const Candidate& remote = input_.candidates[static_cast<size_t>(index)];
      if (remote.home && remote.cached_tokens > 0 &&
          rated(index).predicted.ttft_ns < rated(local).predicted.ttft_ns)
        return index;
    }
    return std::nullopt;
  }

  // Nobody is sure to be in time; who is likely to be? (Replicas of which little is known yet.)
  std::optional<ValveAnswer> likely() const {
    const double most = kLikelyMiss / miss_share_allowed(statistic_, 0.0F);
    const auto chosen = select(rated_, [&](const Rated& one) { return one.miss <= most; });
    if (chosen.empty()) return std::nullopt;
    const int32_t best = *std::ranges::min_element(chosen, {}, [&](int32_t index) {
      return std::pair(rated(index).miss, !rated(index).local);
    });
    return send(best, ValveDecision::kRemoteTarget);
  }

  std::optional<ValveAnswer> late() const {
    const auto locals = select(rated_, [](const Rated& one) { return one.local; });
    if (!locals.empty()) return send(least_cost(input_, locals), ValveDecision::kLocal);
    const auto remotes = select(rated_, [](const Rated& one) { return !one.local; });
    if (remotes.empty()) return std::nullopt;
    return send(least_cost(input_, remotes), ValveDecision::kRemoteSaturated);
  }

  ValveAnswer wait_or_refuse() const {
    ValveAnswer answer;
    int64_t wait_ns = kNewsNever;
    bool unaffordable = false;
    for (const Rated& one : rated_) {
      if (one.affordable) wait_ns = std::min(wait_ns, place_wait_ns(one.candidate->view));
      unaffordable |= one.room && !one.affordable;
    }
    if (wait_ns == kNewsNever) {
      answer.refusal = Refusal::kBudget;
      return answer;
    }
    answer.retry_after_ns = std::max(wait_ns, kAskAgainLeastNs);
    if (facts_.deadline_ns > 0 && input_.now_ns + answer.retry_after_ns <= facts_.deadline_ns)
      answer.kind = ValveAnswer::Kind::kWait;
    else
      answer.refusal = unaffordable ? Refusal::kBudget : Refusal::kSaturated;
    return answer;
  }

  ValveAnswer refuse_without_candidates() const {
    ValveAnswer answer;
    const bool allowed = std::ranges::any_of(
        input_.candidates, [&](const Candidate& c) { return may_go(facts_, *c.pool); });
    answer.refusal =
        allowed || input_.candidates.empty() ? Refusal::kNoReplica : Refusal::kForbidden;
    return answer;
  }

  ValveAnswer send(int32_t index, ValveDecision remote_reason) const {
    const Rated& chosen = rated(index);
    ValveAnswer answer;
    answer.kind = ValveAnswer::Kind::kSend;
    answer.candidate = index;
    answer.predicted = chosen.predicted;
    answer.reason = remote_reason;
    if (chosen.local) {
      const bool remote_forbidden = std::ranges::any_of(input_.candidates, [&](const Candidate& c) {
        return c.pool->place == Place::kRemote && !may_go(facts_, *c.pool);
      });
      answer.reason = facts_.waited_ns > 0 ? ValveDecision::kWaited
                      : remote_forbidden   ? ValveDecision::kLocalForced
                                           : ValveDecision::kLocal;
    }
    answer.local = local_chance(chosen);
    return answer;
  }

  std::optional<LocalChance> local_chance(const Rated& chosen) const {
    if (!has_target(facts_.target)) return std::nullopt;
    std::optional<LocalChance> chance;
    for (const Rated& one : rated_) {
      if (!one.local || !one.room || (chosen.local && one.index != chosen.index)) continue;
      if (chance && chance->miss <= one.miss) continue;
      chance = {statistic_, one.miss,
                chosen.local ? LocalChance::Went::kLocal : LocalChance::Went::kElsewhere};
    }
    return chance;
  }

  const Rated& rated(int32_t index) const {
    return *std::ranges::find(rated_, index, &Rated::index);
  }

  const ValveInput& input_;
  const RouteFacts& facts_;
  std::array<std::byte, kRoomBytes> room_;
  std::pmr::monotonic_buffer_resource memory_{room_.data(), room_.size()};
  std::pmr::vector<Rated> rated_;
  std::pmr::vector<int32_t> near_;  // local, with room, within what the valve allows
  std::pmr::vector<int32_t> far_;   // remote, with room, in time, affordable
  contract::Statistic statistic_;
};

}  // namespace

double ValveView::q(contract::Statistic statistic) const {
  return 1.0 - miss_allowed[static_cast<size_t>(statistic)] * miss_share_allowed(statistic, 0.0F);
}

bool may_go(const RouteFacts& facts, const contract::Pool& pool) {
  if (facts.policy == Policy::kLocalOnly && pool.place == Place::kRemote) return false;
  return contract::may_use(pool.owner, facts.data_class, contract::Purpose::kInference, pool);
}

int32_t least_cost(const ValveInput& input, std::span<const int32_t> chosen) {
  const auto candidate = [&](int32_t index) -> const Candidate& {
    return input.candidates[static_cast<size_t>(index)];
  };
  const auto cost_ns = [&](int32_t index) {
    const Candidate& one = candidate(index);
    const double displaced_ns = 1e9 * one.displaced_tokens / one.view.prefill_tokens_per_s;
    return predict(one.view, input.facts->tokens, one.cached_tokens).total_ns +
           displaced_ns * std::exp(one.view.ttft.mean);
  };
  const bool stale = std::ranges::all_of(
      chosen, [&](int32_t index) { return candidate(index).view.news_age_ns > kStaleNs; });
  if (!stale || chosen.size() <= 2) return *std::ranges::min_element(chosen, {}, cost_ns);
  const auto count = static_cast<uint64_t>(chosen.size());
  const uint64_t first = (input.random >> 32) % count;
  const uint64_t second = (first + 1 + (input.random & 0xffffffff) % (count - 1)) % count;
  const int32_t home = *std::ranges::max_element(
      chosen, {}, [&](int32_t index) { return candidate(index).cached_tokens; });
  const int32_t drawn[] = {chosen[first], chosen[second], home};
  const size_t looked_at = candidate(home).cached_tokens > 0 ? 3 : 2;
  return *std::ranges::min_element(std::span(drawn).first(looked_at), {}, cost_ns);
}

ValveAnswer decide(const ValveInput& input) {
  return Decision(input).run();
}

}  // namespace sluice::gateway
