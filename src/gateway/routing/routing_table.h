// Routing as the edge calls it. A RoutingTable is one snapshot's models, pools and replicas with
// the state that was learnt of them; immutable, shared by all data loops. What is learnt hangs on
// ids and is carried over to the table of the next snapshot.
//
//   auto answer = table->route(request, now_ns, random);
//   if (answer.valve.kind == kSend) {          // it is counted at the replica from here on
//     send to answer.flight.replica().spec.url …
//     answer.flight.first_token(now); … answer.flight.end(output_tokens, outcome, now);
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/snapshot.h"
#include "gateway/routing/prefix_index.h"
#include "gateway/routing/replica_tracker.h"
#include "gateway/routing/valve.h"
#include "gateway/routing/valve_state.h"

namespace sluice::gateway {

// A replica in one table.
struct RoutedReplica {
  contract::Replica spec;
  contract::Pool pool;
  std::shared_ptr<ReplicaTracker> tracker;
  ReplicaSlot slot;
};

// How a prompt becomes a chain of blocks for a model's replicas: by token ids where an engine has
// said its page size and namespace, else by bytes.
struct PrefixGeometry {
  enum class Kind : uint8_t { kNone, kBytes, kTokens } kind = Kind::kNone;  // kNone: one replica
  int32_t page_tokens = 0;                                                  // kTokens
  uint64_t name_space = 0;
};

// A request sent to one replica. Movable; ended exactly once: by end(), or by its destructor as
// kClientGone. Used by one thread.
class Flight {
 public:
  Flight() = default;
  Flight(Flight&& other) noexcept;
  Flight& operator=(Flight&& other) noexcept;
  ~Flight();

  bool in_flight() const { return replica_ != nullptr; }
  const RoutedReplica& replica() const { return *replica_; }
  void first_token(int64_t now_ns);
  void token(int64_t now_ns) { sent_.last_token_ns = now_ns; }
  int64_t stall_deadline_ns() const;
  // Returns whether the target was met (true where nothing was promised).
  bool end(int64_t output_tokens, UpstreamOutcome outcome, int64_t now_ns);

 private:
  friend class RoutingTable;
  std::shared_ptr<const RoutedReplica> replica_;
  std::shared_ptr<ValveState> valve_;
  SentRequest sent_;
  contract::Target target_;
  double expected_miss_ = 0.0;
  int64_t arrived_ns_ = 0;
};

struct RouteRequest {
  std::string_view model;
  RouteFacts facts;
  int64_t arrived_ns = 0;              // the target's times count from here
  std::span<const uint64_t> chain;     // of the prompt's blocks; empty: not known
  std::span<const std::string> tried;  // replica ids that have failed this request
};

struct RouteAnswer {
  ValveAnswer valve;
  Flight flight;  // in flight when valve.kind is kSend
};

struct RoutingOptions {
  int64_t prefix_blocks_max = 1 << 18;
};

class RoutingTable {
 public:
  // `before`: the table in force, or null at the start.
  static std::shared_ptr<const RoutingTable> make(const contract::Snapshot& snapshot,
                                                  const RoutingTable* before,
                                                  const RoutingOptions& options);

  // now_ns: monotonic; unix_s (for prices) and random bits are the caller's too. Any thread.
  struct Moment {
    int64_t now_ns = 0;
    int64_t unix_s = 0;
    uint64_t random = 0;
  };
  RouteAnswer route(const RouteRequest& request, const Moment& moment) const;

  // The model to ask for: `model` itself where it has a replica that may take a request, else its
  // first fallback that has; "" where none.
  std::string_view model_with_replica(std::string_view model, int64_t now_ns) const;
  PrefixGeometry prefix_geometry(std::string_view model) const;

  // ---- the loop that watches replicas
  std::span<const std::shared_ptr<const RoutedReplica>> replicas() const { return replicas_; }
  const RoutedReplica* find(std::string_view replica_id) const;
  // An engine's greeting: what its pages are keyed with.
  void on_geometry(std::string_view replica_id, const PrefixGeometry& geometry) const;
  PrefixIndex& prefixes() const;
  void sweep(int64_t now_ns) const;  // once a second: TTFT outliers, saturation of idle models

  // For metrics, by model.
  ValveView valve_of(std::string_view model) const;

  RoutingTable(const RoutingTable&) = delete;
  RoutingTable& operator=(const RoutingTable&) = delete;
  ~RoutingTable();

 private:
  struct ModelRoutes;
  RoutingTable();
  const ModelRoutes* routes_of(std::string_view model) const;

  std::shared_ptr<PrefixIndex> prefixes_;
  std::vector<std::shared_ptr<const RoutedReplica>> replicas_;
  std::map<std::string, std::unique_ptr<ModelRoutes>, std::less<>> models_;
};

}  // namespace sluice::gateway
