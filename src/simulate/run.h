// One arm of one case: discrete events on a virtual clock. The valve's arm runs the gateway's own
// limits, routing, valve and waiting queue; every arm's requests end in usage events that the
// product's ledger books.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "contract/money.h"
#include "contract/usage_event.h"
#include "core/result.h"
#include "simulate/scenario.h"

namespace sluice::simulate {

// One request as its client saw it.
struct Outcome {
  double arrived_s = 0.0;
  bool answered = false;  // else refused
  bool remote = false;
  bool met = false;
  double waited_s = 0.0;  // in the gateway
  double ttft_s = 0.0;
  double tpot_s = 0.0;
  double total_s = 0.0;
  contract::NanoMoney cost;  // owed to the pools' owners
};

struct RunResult {
  std::vector<Outcome> outcomes;  // in the order of arrival; those before measure_from_s left out
  int64_t preemptions = 0;
  int64_t limited = 0;         // refused by a limit of the snapshot
  double q_last = 0.0;         // kValve: of the p99, at the end
  contract::NanoMoney owed;    // by the ledger, of all requests
  contract::NanoMoney billed;  // to tenants
};

// kInvalid: the ledger's proof does not hold (a bug, told with its lines).
core::Result<RunResult> run(const Scenario& scenario, const Case& which, Arm arm);

}  // namespace sluice::simulate
