// GET /metrics of the gateway: Prometheus text, sums over the loops and what others know.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/metrics/counters.h"
#include "gateway/routing/valve.h"
#include "net/http_server.h"

namespace sluice::gateway {

struct ReplicaGauge {
  std::string replica = {};
  std::string pool = {};
  std::string model = {};
  bool healthy = true;
  int64_t requests_running = 0;
  int64_t queued_tokens = 0;
};

struct PoolGauge {
  std::string pool = {};
  int64_t streams = 0;
  std::optional<int64_t> streams_max = {};       // of its capacity; nullopt: no bound
  std::optional<int64_t> tokens_remaining = {};  // of its minute; nullopt: no bound
};

struct ValveGauge {
  std::string model = {};
  bool open = false;        // remotes take what local pools cannot
  double saturation = 0.0;  // of its local pools, at the last decision; 1: no place is free
  std::array<double, kStatistics> q = {};  // by contract::Statistic
};

// Gathered on the thread that answers the scrape.
struct MetricsInput {
  std::span<const LoopMetrics* const> loops;
  std::vector<ReplicaGauge> replicas = {};
  std::vector<PoolGauge> pools = {};
  std::vector<ValveGauge> valves = {};
  net::ServerStats http = {};  // summed over the loops' servers
  int64_t snapshot_generation = 0;
  int64_t ledger_lag_records = 0;  // in the journal, not yet in the store
  int64_t ledger_lag_ns = 0;       // age of the oldest of them
  int64_t ledger_proofs = 0;       // that its balances add up, tried
  int64_t ledger_faults = 0;       // found by the last of them
  int64_t journal_bytes = 0;
  int64_t spans_dropped = 0;
  int64_t resident_bytes = 0;
};

std::string metrics_text(const MetricsInput& input);

}  // namespace sluice::gateway
