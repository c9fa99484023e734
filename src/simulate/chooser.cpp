#include "simulate/chooser.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "contract/money.h"
#include "core/rng.h"
#include "gateway/limits/output_estimate.h"
#include "gateway/routing/routing_table.h"

namespace sluice::simulate {
namespace {

using contract::PriceSide;
using contract::Unit;

// ---- what the plain arms have in common -----------------------------------------------------

template <typename Predicate>
std::optional<int32_t> fewest_sequences(const World& world, Predicate predicate) {
  std::optional<int32_t> best;
  for (int32_t i = 0; i < static_cast<int32_t>(world.engines.size()); ++i) {
    if (!predicate(i)) continue;
    const auto sequences = [&](int32_t index) {
      return world.engines[static_cast<size_t>(index)].sequences();
    };
    if (!best || sequences(i) < sequences(*best)) best = i;
  }
  return best;
}

std::optional<int32_t> local_of(const World& world) {
  return fewest_sequences(world, [&](int32_t i) { return world.is_local(i); });
}

contract::NanoMoney cost_of(const World& world, int32_t replica, const Request& request) {
  const auto* price =
      world.directory->price(*world.model, *world.replica(replica).pool, PriceSide::kCost,
                             world.clock.unix_ns() / 1'000'000'000);
  if (!price) return {};
  return contract::amount_of(request.prompt_tokens,
                             price->rates[static_cast<size_t>(Unit::kPromptToken)]) +
         contract::amount_of(request.output_tokens,
                             price->rates[static_cast<size_t>(Unit::kOutputToken)]);
}

// The cheapest remote with room; of equals the one with the fewest sequences.
template <typename Predicate>
std::optional<int32_t> cheapest_remote(const World& world, const Request& request,
                                       Predicate predicate) {
  std::optional<contract::NanoMoney> least;
  const auto usable = [&](int32_t i) {
    return !world.is_local(i) && world.has_room(i, request) && predicate(i);
  };
  for (int32_t i = 0; i < static_cast<int32_t>(world.engines.size()); ++i)
    if (usable(i))
      least = std::min(least.value_or(cost_of(world, i, request)), cost_of(world, i, request));
  return fewest_sequences(
      world, [&](int32_t i) { return usable(i) && cost_of(world, i, request) == *least; });
}

Choice ask_again_soon(const World& world) {
  return {.kind = Choice::Kind::kWait, .again_ns = world.clock.now_ns() + 100'000'000};
}

bool any(int32_t /*replica*/) {
  return true;
}

class LocalOnly final : public Chooser {
 public:
  explicit LocalOnly(World* world) : world_(*world) {}
  Choice choose(int64_t /*request*/) override { return {.replica = *local_of(world_)}; }

 private:
  const World& world_;
};

class Overflow final : public Chooser {
 public:
  explicit Overflow(World* world) : world_(*world) {}
  Choice choose(int64_t request) override {
    const int32_t local = *local_of(world_);
    const Request& asked = world_.requests[static_cast<size_t>(request)];
    if (world_.has_room(local, asked)) return {.replica = local};
    const auto remote = cheapest_remote(world_, asked, any);
    if (remote) return {.replica = *remote};
    return ask_again_soon(world_);
  }

 private:
  const World& world_;
};

class AllRemote final : public Chooser {
 public:
  explicit AllRemote(World* world) : world_(*world) {}
  Choice choose(int64_t request) override {
    const auto remote = cheapest_remote(world_, world_.requests[static_cast<size_t>(request)], any);
    if (remote) return {.replica = *remote};
    return ask_again_soon(world_);
  }

 private:
  const World& world_;
};

// ---- the oracle -----------------------------------------------------------------------------

class Oracle final : public Chooser {
 public:
  explicit Oracle(World* world) : world_(*world) {}

  Choice choose(int64_t request) override {
    const auto meets = [&](int32_t i) { return all_meet(i, request); };
    const Request& asked = world_.requests[static_cast<size_t>(request)];
    const auto local = fewest_sequences(world_, [&](int32_t i) {
      return world_.is_local(i) && world_.has_room(i, asked) && meets(i);
    });
    if (local) return {.replica = *local};
    if (const auto remote = cheapest_remote(world_, asked, meets)) return {.replica = *remote};
    if (const int32_t late = *local_of(world_); world_.has_room(late, asked))
      return {.replica = late};
    if (const auto remote = cheapest_remote(world_, asked, any)) return {.replica = *remote};
    return ask_again_soon(world_);
  }

 private:
  // Would this request and all that run there meet the target, if nothing else came?
  bool all_meet(int32_t replica, int64_t request) const {
    ModelledEngine ahead = world_.engines[static_cast<size_t>(replica)];
    const Request& asked = world_.requests[static_cast<size_t>(request)];
    if (!ahead.submit({request, asked.prompt_tokens, asked.output_tokens}, world_.clock.now_ns()))
      return false;
    const int64_t round_trip_ns = world_.round_trip_ns(replica);
    std::map<int64_t, int64_t> first_ns;
    std::vector<EngineEvent> events;
    while (ahead.step_end_ns() != ModelledEngine::kNever) {
      events.clear();
      ahead.end_step(&events);
      for (const EngineEvent& event : events) {
        const Request& other = world_.requests[static_cast<size_t>(event.request)];
        const int64_t at_ns = event.at_ns + round_trip_ns;
        if (event.kind == EngineEvent::Kind::kFirstToken) {
          first_ns[event.request] = at_ns;
          continue;
        }
        const auto first = first_ns.find(event.request);
        const int64_t first_token_ns =
            first == first_ns.end() ? other.first_token_ns : first->second;
        const auto since = [&](int64_t from_ns, int64_t to_ns) {
          return static_cast<double>(to_ns - from_ns);
        };
        const double gaps = static_cast<double>(std::max<int64_t>(other.output_tokens - 1, 1));
        if (!gateway::target_met(world_.target, {since(other.arrived_ns, first_token_ns),
                                                 since(first_token_ns, at_ns) / gaps,
                                                 since(other.arrived_ns, at_ns)}))
          return false;
      }
    }
    return true;
  }

  const World& world_;
};

// ---- the valve ------------------------------------------------------------------------------

class Valve final : public Chooser {
 public:
  explicit Valve(World* world)
      : world_(*world),
        table_(gateway::RoutingTable::make(world->directory, nullptr, {})),
        outputs_(64) {}

  Choice choose(int64_t index) override {
    const Request& asked = world_.requests[static_cast<size_t>(index)];
    const auto defaults = world_.model->model->defaults;
    gateway::RouteRequest request;
    request.model = world_.model;
    request.arrived_ns = asked.arrived_ns;
    request.facts.target = world_.target;
    request.facts.policy = defaults.policy.value_or(contract::Policy::kLocalFirst);
    request.facts.data_class = defaults.data_class.value_or(contract::DataClass::kInternal);
    request.facts.tokens = {asked.prompt_tokens, outputs_.likely(0, asked.output_tokens_max),
                            asked.output_tokens_max};
    request.facts.deadline_ns =
        asked.arrived_ns + static_cast<int64_t>(world_.scenario->wait_max_s * 1e9);
    request.tried = tried_[index];
    hear_tokens();
    gateway::RouteAnswer answer = table_->route(
        request, {.now_ns = world_.clock.now_ns(),
                  .unix_s = world_.clock.unix_ns() / 1'000'000'000,
                  .random = core::random_bits(world_.scenario->seed, random_position_++)});
    switch (answer.valve.kind) {
      case gateway::ValveAnswer::Kind::kSend:
        flights_[index] = std::move(answer.flight);
        return {.replica = flights_[index].replica().entry->index};
      case gateway::ValveAnswer::Kind::kWait:
        return {.kind = Choice::Kind::kWait,
                .again_ns = world_.clock.now_ns() + answer.valve.retry_after_ns};
      case gateway::ValveAnswer::Kind::kRefuse:
        return {.kind = Choice::Kind::kRefuse, .again_ns = answer.valve.retry_after_ns};
    }
    return {};
  }

  void first_token(int64_t index) override { flights_[index].first_token(world_.clock.now_ns()); }

  void ended(int64_t index) override {
    const Request& asked = world_.requests[static_cast<size_t>(index)];
    gateway::Flight& flight = flights_[index];
    flight.tokens(asked.output_tokens, world_.clock.now_ns());
    flight.end(asked.output_tokens, gateway::UpstreamOutcome::kComplete, world_.clock.now_ns());
    outputs_.learn(0, asked.output_tokens);
    flights_.erase(index);
    tried_.erase(index);
  }

  void busy(int64_t index) override {
    gateway::Flight& flight = flights_[index];
    tried_[index].push_back(flight.replica().entry->replica->id);
    flight.end(0, gateway::UpstreamOutcome::kBusy, world_.clock.now_ns());
    flights_.erase(index);
  }

  void each_second() override { table_->sweep(world_.clock.now_ns()); }
  double q() const override {
    return table_->valve_of(*world_.model).q(gateway::strictest_statistic(world_.target));
  }

 private:
  // A gateway counts tokens as they pass; here when they matter.
  void hear_tokens() {
    const int64_t now_ns = world_.clock.now_ns();
    for (size_t i = 0; i < world_.engines.size(); ++i) {
      produced_.clear();
      world_.engines[i].produced(&produced_);
      for (const auto& [index, tokens] : produced_) {
        const int64_t first_token_ns = world_.requests[static_cast<size_t>(index)].first_token_ns;
        if (first_token_ns > 0 && first_token_ns <= now_ns) flights_[index].tokens(tokens, now_ns);
      }
    }
  }

  const World& world_;
  std::shared_ptr<const gateway::RoutingTable> table_;
  std::vector<std::pair<int64_t, int64_t>> produced_;
  gateway::OutputEstimates outputs_;
  std::map<int64_t, gateway::Flight> flights_;
  std::map<int64_t, std::vector<std::string>> tried_;
  uint64_t random_position_ = 0;
};

}  // namespace

std::unique_ptr<Chooser> make_chooser(Arm arm, World* world) {
  switch (arm) {
    case Arm::kLocalOnly:
      return std::make_unique<LocalOnly>(world);
    case Arm::kOverflow:
      return std::make_unique<Overflow>(world);
    case Arm::kAllRemote:
      return std::make_unique<AllRemote>(world);
    case Arm::kValve:
      return std::make_unique<Valve>(world);
    case Arm::kOracle:
      return std::make_unique<Oracle>(world);
  }
  return nullptr;
}

}  // namespace sluice::simulate
