// What a simulation is told: the same objects that a gateway is told (pools, replicas, prices, a
// model with its target), engines with stated parameters behind the replicas, and traffic. Read
// from TOML; docs/simulate.md describes the file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/snapshot.h"
#include "core/result.h"
#include "simulate/modelled_engine.h"

namespace sluice::simulate {

// Who decides where a request goes.
enum class Arm : uint8_t {
  kLocalOnly,  // the local replica with the fewest streams, whatever comes
  kOverflow,   // local until its engine says 429, then remote
  kAllRemote,
  kValve,   // gateway/routing, as the gateway runs it
  kOracle,  // knows lengths and engines: local while a look ahead shows every target met
};
inline constexpr int kArms = 5;
std::string_view to_text(Arm arm);

struct Traffic {
  enum class Kind : uint8_t {
    kWriters,  // so many clients, each with its next request when the last one has ended
    kOpen,     // random arrivals at a rate
    kDay,      // random arrivals; the rate swings between night and day in 24 h
  } kind = Kind::kOpen;
  double from_s = 0.0;
  double to_s = 0.0;
  int64_t writers = 0;
  double ramp_s = 5.0;      // kWriters: they begin within
  double rate_per_s = 0.0;  // kOpen; kDay at noon
  double rate_night_per_s = 0.0;
  int64_t prompt_tokens = 1;
  int64_t output_tokens = 1;
  double spread = 0.0;  // lengths are uniform within ± this share
};

struct Case {
  std::string name;
  std::vector<std::string> replicas;  // that there are
  double measure_from_s = 0.0;        // requests before it are not counted
  std::vector<Traffic> traffic;
};

struct Slowdown {
  double at_s = 0.0;
  std::string replica;
  double factor = 1.0;
};

struct Scenario {
  std::string name;
  uint64_t seed = 1;
  double wait_max_s = 0.0;           // how long a request may wait in the gateway
  double bucket_s = 60.0;            // of the time series
  contract::Snapshot snapshot;       // one tenant, one key, one model, everything else as told
  std::vector<EngineModel> engines;  // by index of snapshot.replicas
  std::vector<Slowdown> slowdowns;
  std::vector<Case> cases;
  std::vector<Arm> arms;
};

// What a file that the scenario names holds.
using ReadFile = std::function<core::Result<std::string>(const std::string& path)>;

// kInvalid: what is wrong, where, what is allowed. `name`: of the file, for messages.
core::Result<Scenario> parse_scenario(std::string_view toml, std::string_view name,
                                      const ReadFile& read_file);

}  // namespace sluice::simulate
