// What the parts of one run share: the clock, the engines and the requests so far.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "gateway/directory/directory.h"
#include "gateway/routing/pool_gate.h"
#include "simulate/modelled_engine.h"
#include "simulate/run.h"
#include "simulate/scenario.h"

namespace sluice::simulate {

struct Request {
  int64_t arrived_ns = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;      // that it will come to
  int64_t output_tokens_max = 0;  // that it asks for
  int32_t traffic = 0;
  int32_t writer = -1;  // of kWriters
  int32_t replica = -1;
  int64_t sent_ns = 0;
  int64_t first_token_ns = 0;  // when the gateway sees it; 0: the engine has none yet
  gateway::PoolGate::Pass pass;

  int64_t tokens() const { return prompt_tokens + output_tokens; }
};

struct World {
  const Scenario* scenario = nullptr;
  std::shared_ptr<const gateway::Directory> directory;  // the case's replicas
  const gateway::ModelEntry* model = nullptr;
  contract::Target target;
  core::ManualClock clock;
  std::vector<ModelledEngine> engines;                    // by ReplicaEntry::index
  std::vector<EngineModel> models;                        // the same
  std::vector<std::unique_ptr<gateway::PoolGate>> gates;  // by PoolEntry::index: what pools take
  std::vector<Request> requests;

  const gateway::ReplicaEntry& replica(int32_t index) const {
    return directory->replicas()[static_cast<size_t>(index)];
  }
  bool is_local(int32_t index) const {
    return replica(index).pool->pool->place == contract::Place::kLocal;
  }
  int64_t round_trip_ns(int32_t index) const { return replica(index).pool->pool->round_trip_ns; }
  gateway::PoolGate& gate(int32_t index) const {
    return *gates[static_cast<size_t>(replica(index).pool->index)];
  }
  bool has_room(int32_t index, const Request& request) const {
    const auto i = static_cast<size_t>(index);
    if (gate(index).room(request.tokens(), clock.now_ns()).wait_ns > 0) return false;
    return models[i].busy_at == 0 || engines[i].sequences() < models[i].busy_at;
  }
};

}  // namespace sluice::simulate
