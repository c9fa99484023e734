// Routing as the edge calls it. A RoutingTable is a directory's replicas with the state that was
// learnt of them; immutable, shared by all data loops. What is learnt hangs on ids and is carried
// over to the table of the next directory.
//
//   auto answer = table->route(request, moment);
//   if (answer.valve.kind == ValveAnswer::Kind::kSend) {   // counted at the replica from here on
//     send to answer.flight.replica().entry->replica->url …
//     answer.flight.first_token(now); … met = answer.flight.end(output_tokens, outcome, now);
//   }
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/directory/directory.h"
#include "gateway/routing/pool_gate.h"
#include "gateway/routing/prefix_index.h"
#include "gateway/routing/replica_tracker.h"
#include "gateway/routing/valve.h"
#include "gateway/routing/valve_state.h"

namespace sluice::gateway {

// How a prompt becomes a chain of blocks for a model's replicas: by token ids where an engine has
// said its page size and namespace and the model has a vocabulary here, else by bytes.
struct PrefixGeometry {
  enum class Kind : uint8_t { kNone, kBytes, kTokens } kind = Kind::kNone;  // kNone: does not pay
  int32_t page_tokens = 0;                                                  // kTokens
  uint64_t name_space = 0;  // contract::combine_namespace() adds the salt
};

// A replica in one table.
struct RoutedReplica {
  const ReplicaEntry* entry = nullptr;  // of the table's directory
  std::shared_ptr<ReplicaTracker> tracker;
  ReplicaSlot slot;
};

// A pool in one table.
struct RoutedPool {
  const PoolEntry* entry = nullptr;  // of the table's directory
  std::shared_ptr<PoolGate> gate;
};

class RoutingTable;

// A request sent to one replica. Movable; ended exactly once: by end(), or by its destructor as
// kClientGone. Used by one thread. Keeps its table and directory alive.
class Flight {
 public:
  Flight() = default;
  Flight(Flight&& other) noexcept { swap(other); }
  Flight& operator=(Flight&& other) noexcept;
  ~Flight();

  bool in_flight() const { return replica_ != nullptr; }
  const RoutedReplica& replica() const { return *replica_; }

  void first_token(int64_t now_ns);
  void tokens(int64_t count, int64_t now_ns);  // of its answer until now
  // When, without another token, it is to be ended as kStalled; before the first, which may take
  // `first_token_max_ns`, as kTimeout.
  int64_t stall_deadline_ns(int64_t first_token_max_ns) const;
  // The learning's end of it. Returns whether the target was met; true where nothing was promised.
  bool end(int64_t output_tokens, UpstreamOutcome outcome, int64_t now_ns);
  // Of one that has ended, where a price asks for it: its part of the replica's time.
  int64_t compute_us() const { return sent_.compute_ns / 1000; }

 private:
  friend class RoutingTable;
  void swap(Flight& other) noexcept;

  std::shared_ptr<const RoutingTable> table_;
  const RoutedReplica* replica_ = nullptr;  // null: not in flight
  PoolGate* gate_ = nullptr;
  PoolGate::Pass pass_;
  int64_t prompt_tokens_ = 0;
  ValveState* valve_ = nullptr;
  SentRequest sent_;
  contract::Target target_;
  std::optional<LocalChance> chance_;
  int64_t arrived_ns_ = 0;
};

struct RouteRequest {
  const ModelEntry* model = nullptr;  // of the table's directory
  RouteFacts facts;
  int64_t arrived_ns = 0;           // the target's times count from here
  std::span<const uint64_t> chain;  // of the prompt's blocks; empty: not known
  int64_t block_tokens = kByteBlockTokens;
  uint64_t session = 0;                // a hash of what names the conversation; 0: nothing does
  std::span<const std::string> tried;  // replica ids that have failed this request
};

// What the caller's clocks and dice say.
struct Moment {
  int64_t now_ns = 0;  // monotonic
  int64_t unix_s = 0;  // for prices
  uint64_t random = 0;
};

struct RouteAnswer {
  ValveAnswer valve;
  Flight flight;  // in flight when valve.kind is kSend
};

struct RoutingOptions {
  int64_t prefix_blocks_max = 1 << 18;  // 32 bytes each
};

class RoutingTable : public std::enable_shared_from_this<RoutingTable> {
 public:
  // `before`: the table in force, or null at the start; then `options` count.
  static std::shared_ptr<const RoutingTable> make(std::shared_ptr<const Directory> directory,
                                                  const RoutingTable* before,
                                                  const RoutingOptions& options);
  RoutingTable(const RoutingTable&) = delete;
  RoutingTable& operator=(const RoutingTable&) = delete;

  const Directory& directory() const { return *directory_; }

  // ---- any thread
  RouteAnswer route(const RouteRequest& request, const Moment& moment) const;
  // `model` where one of its replicas may take a request, now or soon; else its first fallback of
  // which that is true; null where none.
  const ModelEntry* model_with_replica(const ModelEntry& model, int64_t now_ns) const;
  // A replica is ready and healthy, or none is configured.
  bool serves(int64_t now_ns) const;
  PrefixGeometry prefix_geometry(const ModelEntry& model) const;
  ValveView valve_of(const ModelEntry& model) const;  // for metrics
  // Of prompt and answer: as the snapshot says, else as an engine said last; 0: nobody has.
  int64_t context_tokens(const ModelEntry& model) const;

  // ---- the loop that watches replicas
  std::span<const RoutedReplica> replicas() const { return replicas_; }  // by ReplicaEntry::index
  std::span<const RoutedPool> pools() const { return pools_; }           // by PoolEntry::index
  // An engine's greeting: what its pages are keyed with.
  void on_geometry(const ReplicaEntry& replica, const PrefixGeometry& geometry) const;
  void on_context(const ReplicaEntry& replica, int64_t context_tokens) const;
  PrefixIndex& prefixes() const { return *prefixes_; }
  // Once a second: who is a TTFT outlier, and which valves close though nobody asks.
  void sweep(int64_t now_ns) const;

 private:
  // What is learnt of a model.
  struct ModelState {
    ValveState valve;
    std::atomic<int32_t> page_tokens = 0;  // 0: no engine has said
    std::atomic<uint64_t> name_space = 0;
    std::atomic<int64_t> context_tokens = 0;  // 0: no engine has said
  };

  RoutingTable() = default;
  ModelState& state_of(const ModelEntry& model) const {
    return *models_[static_cast<size_t>(model.index)];
  }
  // Those that may serve it, in `candidates` and side by side with these in `replicas`, both empty
  // before.
  void add_candidates(const RouteRequest& request, const Moment& moment,
                      std::pmr::vector<Candidate>* candidates,
                      std::pmr::vector<const RoutedReplica*>* replicas) const;
  PoolGate* gate_of(const RoutedReplica& replica) const {
    return pools_[static_cast<size_t>(replica.entry->pool->index)].gate.get();
  }
  using Replicas = std::span<const RoutedReplica* const>;
  void mark_out(Replicas replicas, int64_t now_ns, std::span<Candidate> candidates) const;
  void add_cached_tokens(const RouteRequest& request, int64_t now_ns, Replicas replicas,
                         std::span<Candidate> candidates) const;
  void add_forecasts(const RouteRequest& request, int64_t now_ns, Replicas replicas,
                     std::span<Candidate> candidates) const;
  void add_prices(const RouteRequest& request, const Moment& moment, Replicas replicas,
                  std::span<Candidate> candidates) const;
  // Decides, and takes the place in the chosen one's pool.
  ValveAnswer decide_and_enter(const ValveInput& input, Replicas replicas,
                               std::span<Candidate> candidates, PoolGate::Pass* pass) const;

  std::shared_ptr<const Directory> directory_;
  std::shared_ptr<PrefixIndex> prefixes_;
  std::vector<RoutedReplica> replicas_;              // by ReplicaEntry::index
  std::vector<RoutedPool> pools_;                    // by PoolEntry::index
  std::vector<std::shared_ptr<ModelState>> models_;  // by ModelEntry::index
};

}  // namespace sluice::gateway
