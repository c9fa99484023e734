// One request from its head to its last byte: the nouns that the filters work on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/relayed_answer.h"
#include "api/relayed_request.h"
#include "gateway/edge/upstreams.h"
#include "gateway/limits/limit_set.h"
#include "gateway/metrics/trace.h"
#include "gateway/routing/routing_table.h"
#include "ledger/billing.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace sluice::gateway {

class Gateway;

// What an attempt begins with.
enum class GoesOnBy : uint8_t {
  kNothing,   // the request as it came
  kTokenIds,  // and the ids of what others have said before
  kText,      // and their text
};

// The work of one replica at a request.
struct Attempt {
  std::shared_ptr<const RoutingTable> table;  // keeps what `replica` points to
  const ReplicaEntry* replica = nullptr;
  GoesOnBy goes_on_by = GoesOnBy::kNothing;
  ledger::AttemptEnd end = ledger::AttemptEnd::kWithRequest;
  std::optional<api::RelayedUsage> usage = std::nullopt;  // as it said
  int64_t output_tokens = 0;  // that reached the client, as far as can be counted
  int64_t compute_us = 0;     // of the replica's time, where a price asks for it
};

struct Exchange final : net::ResponseSink, std::enable_shared_from_this<Exchange> {
  Exchange(Gateway& owner, net::Responder to) : gateway(owner), responder(std::move(to)) {}

  // Of the upstream's answer (answer.cpp).
  void on_head(const net::ResponseHead& head) override;
  void on_body(std::string_view bytes) override;
  void on_whole(const net::ResponseHead& head, std::string_view body) override;
  void on_end(net::CallEnd end, std::string_view message) override;

  enum class State : uint8_t {
    kFiltering,  // on its way forwards
    kWaiting,    // the valve holds it back
    kSent,       // an upstream works on it
    kEnded,      // its event is in the journal
  };

  Gateway& gateway;
  net::Responder responder;
  State state = State::kFiltering;
  size_t index = 0;                       // in the gateway's table
  uint64_t handle = 0;                    // in the waiting queue
  bool queued = false;                    // it is there
  size_t next_filter = 0;                 // where a request that waited goes on
  const net::Request* request = nullptr;  // while its handler runs, then null

  // ---- who and what
  contract::RequestId id;
  contract::RequestId parent;     // as the client says, an id that was given here; else none
  std::string client_request_id;  // a valid one, else ""
  std::string remote_address;
  Span span;
  std::string trace_state;
  bool wants_receipt = false;
  contract::EventKind kind = contract::EventKind::kChatCompletion;
  std::shared_ptr<const RoutingTable> table;  // what `key` and `model` are of
  const KeyEntry* key = nullptr;
  const ModelEntry* asked_model = nullptr;
  const ModelEntry* model = nullptr;  // that answers: the one asked for or a fallback
  api::RelayedRequest asked;
  std::string own_salt;                     // where the client names one, else ""
  std::string body;                         // as the client sent it
  std::vector<net::OwnedHeader> forwarded;  // of the client's headers

  // ---- times
  int64_t arrived_ns = 0;
  int64_t arrived_unix_ns = 0;
  int64_t first_token_ns = 0;  // 0: none yet
  int64_t last_token_ns = 0;
  int64_t last_write_ns = 0;  // of a heartbeat

  // ---- limits and money
  LimitSets limit_sets;
  LimitReservation limits;
  Demand demand;
  int64_t prompt_tokens_guess = 0;       // where nobody says better
  std::optional<int64_t> prompt_tokens;  // as the model's own vocabulary counts them
  bool count_failed = false;             // it cannot say
  uint64_t output_pair = 0;              // of OutputEstimates
  bool recorded = false;                 // its reservation is in the journal

  // ---- where
  RouteFacts facts;
  int32_t priority = 0;
  std::vector<uint64_t> chain;  // of the prompt's leading blocks
  int64_t block_tokens = kByteBlockTokens;
  uint64_t session = 0;
  bool route_prepared = false;  // what stands above is known
  std::vector<std::string> tried;
  contract::ValveDecision decision = contract::ValveDecision::kNone;
  Flight flight;
  std::vector<Attempt> attempts;
  net::ClientCall call;
  bool waited = false;
  UpstreamOutcome failure = UpstreamOutcome::kServerError;  // of the last attempt that failed
  std::string failure_text;
  int64_t failed_ns = 0;  // when it failed
  int32_t busy_s = 0;     // the least that replicas which were busy asked for; 0: none said

  // ---- the answer
  bool head_sent = false;  // 200 and headers of a stream: heartbeats may come before the rest
  bool begun = false;      // a part of the answer has been passed on
  bool is_events = false;  // the upstream answers in events
  bool paused = false;
  int upstream_status = 0;
  std::vector<net::OwnedHeader> upstream_headers;
  std::string collected;  // an answer that is no stream; of a stream the event that is incomplete
  api::StreamIdentity identity;
  std::vector<int32_t> emitted_ids;
  bool ids_complete = true;  // emitted_ids are all of the answer so far
  std::string text;          // that the client has, as it stands in JSON
  bool keeps_text = false;   // `text` is all of the answer so far, and some replica could use it
  std::string finish_reason;
  int64_t finished = 0;  // of its choices: nothing but usage comes behind the last one's
  int resumes = 0;

  // Its flight, and what it took of the replica. Whether the target was met.
  bool end_flight(UpstreamOutcome outcome, int64_t now_ns);
  // What it shares cached prefixes under.
  std::string_view cache_salt() const {
    return own_salt.empty() ? std::string_view(key->tenant().cache_salt) : own_salt;
  }
  Attempt& attempt() { return attempts.back(); }
  const Attempt& attempt() const { return attempts.back(); }
  int64_t output_tokens() const {
    int64_t sum = 0;
    for (const Attempt& one : attempts) sum += one.output_tokens;
    return sum;
  }
};

// Memory of exchanges that have ended, for those that come: they are large, and as many begin as
// end. Kept alive by what was taken from it.
class ExchangePool {
 public:
  static constexpr size_t kKeptMax = 1024;
  void* take(size_t bytes);
  void give(void* block, size_t bytes);

 private:
  size_t block_bytes_ = 0;  // all are of one size
  std::vector<std::unique_ptr<std::byte[]>> free_;
};

// For std::allocate_shared.
template <typename T>
struct ExchangeAllocator {
  using value_type = T;
  explicit ExchangeAllocator(std::shared_ptr<ExchangePool> from) : pool(std::move(from)) {}
  template <typename U>
  ExchangeAllocator(const ExchangeAllocator<U>& other) : pool(other.pool) {}
  T* allocate(size_t count) { return static_cast<T*>(pool->take(count * sizeof(T))); }
  void deallocate(T* block, size_t count) { pool->give(block, count * sizeof(T)); }
  template <typename U>
  bool operator==(const ExchangeAllocator<U>& other) const {
    return pool == other.pool;
  }
  std::shared_ptr<ExchangePool> pool;
};

}  // namespace sluice::gateway
