// The one event in which every request ends, and the records that a gateway's journal holds.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "contract/money.h"

namespace sluice::contract {

// Unique for ever: which gateway, and its count (contract/request_id.h). Text
// "req_<gateway>_<sequence>", both 16 hexadecimal digits.
struct RequestId {
  uint64_t gateway = 0;
  uint64_t sequence = 0;
  auto operator<=>(const RequestId&) const = default;
};
std::string to_text(RequestId id);

// How a request ended, as far as billing is concerned (docs/billing.md has a row for each; a test
// runs the rows).
enum class Outcome : uint8_t {
  kComplete,              // the answer is whole, with the upstream's usage
  kCompleteUsageMissing,  // whole, the upstream sent no usage: the gateway counted
  kClientAbortBeforeFirstToken,
  kClientAbort,    // after the first token
  kTimedOut,       // the gateway's deadline, before or after the first token
  kUpstreamError,  // without usage
  kUpstreamErrorWithUsage,
  kRefused,      // by limits, the valve, a missing replica: nothing was computed
  kGatewayLost,  // the gateway ended while the request ran; found by the sweep
  kKeyRevoked,   // its stream was ended because its key was revoked
};
inline constexpr int kOutcomes = 10;
std::string_view to_text(Outcome outcome);

enum class EventKind : uint8_t { kChatCompletion, kCompletion, kEmbedding };

// Why the request went where it went.
enum class ValveDecision : uint8_t {
  kNone,             // it never came to that
  kLocal,            // local compute meets the target, or no target was set
  kLocalForced,      // there is a remote, but policy or data class forbid it
  kRemoteTarget,     // local would have missed the target
  kRemoteSaturated,  // the valve is open: local pools are saturated
  kRemotePolicy,     // cheapest or fastest chose a remote
  kRemoteNoLocal,    // no local replica is ready
  kWaited,           // local after waiting in the gateway
  kRefused,
};

// Whom a line charges. A stream that went on elsewhere has prompt tokens for which the pool's owner
// is paid but not the tenant charged (docs/billing.md).
enum class LineSide : uint8_t { kBoth, kSaleOnly, kCostOnly };

// One thing that was used, at one replica. A survived stream has lines of both replicas.
struct UsageLine {
  std::string replica;
  std::string pool;
  std::string owner;  // of the pool; "" the platform
  Unit unit = Unit::kPromptToken;
  LineSide side = LineSide::kBoth;
  int64_t quantity = 0;
  int64_t sale_version = 0;  // of the Price; 0: none matched
  int64_t cost_version = 0;
  NanoMoney amount;  // amount_of(quantity, sale rate); 0 of kCostOnly
  NanoMoney cost;    // amount_of(quantity, cost rate); 0 of kSaleOnly
  bool operator==(const UsageLine&) const = default;
};

struct UsageEvent {
  RequestId id;
  RequestId parent;  // which it repeats or belongs to, as its client says; {0, 0}: none
  EventKind kind = EventKind::kChatCompletion;
  Outcome outcome = Outcome::kComplete;
  ValveDecision decision = ValveDecision::kNone;
  bool target_met = true;  // true where nothing was promised
  int16_t status = 200;    // what the client was sent
  std::string tenant;
  std::string project;
  std::string key;
  std::string model;
  std::string model_digest;
  std::string finish_reason;  // of the first choice; "" none
  int64_t started_unix_ns = 0;
  int64_t ttft_ns = 0;  // 0: no token came
  int64_t tpot_ns = 0;  // mean; 0: fewer than two tokens
  int64_t total_ns = 0;
  NanoMoney reserved;  // by its Reservation; the difference to the amounts is given back
  std::vector<UsageLine> lines;
  bool operator==(const UsageEvent&) const = default;
};

// Money that a request may at most need, set aside before anything is computed for it.
struct Reservation {
  RequestId id;
  std::string tenant;
  std::string key;
  std::string model;
  int64_t started_unix_ns = 0;
  NanoMoney amount;
  int64_t tokens = 0;  // set aside in the calendar quotas
  bool operator==(const Reservation&) const = default;
};

// Of an administrator: who changed what. The object's canonical JSON hashed before and after.
struct ChangeRecord {
  std::string actor;        // a key's id, "config-file", "command-line"
  std::string action;       // "keys.create"
  std::string object;       // "key/key_1f…"
  std::string hash_before;  // SHA-256, hexadecimal; "" it did not exist
  std::string hash_after;
  int64_t generation = 0;  // of the snapshot it led to
  int64_t unix_ns = 0;
  bool operator==(const ChangeRecord&) const = default;
};

// Money put in or taken out by an administrator.
struct BalanceChange {
  std::string id;  // the caller's, so that a second call with it changes nothing
  std::string tenant;
  enum class Kind : uint8_t { kTopUp, kAdjustment } kind = Kind::kTopUp;
  NanoMoney amount;  // negative only for an adjustment
  std::string actor;
  std::string reason;
  int64_t unix_ns = 0;
  bool operator==(const BalanceChange&) const = default;
};

enum class RecordKind : uint8_t { kReservation = 1, kUsage = 2, kChange = 3, kBalance = 4 };

// Takes what must outlive the process. append() returns when the record would survive kill -9
// (store/journal.h); it does not wait for a disk. From any thread. False when it could not be
// kept (a full disk): then the request is refused, or the answer ends with an error.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  [[nodiscard]] virtual bool append(const Reservation& reservation) = 0;
  [[nodiscard]] virtual bool append(const UsageEvent& event) = 0;
  [[nodiscard]] virtual bool append(const ChangeRecord& change) = 0;
  [[nodiscard]] virtual bool append(const BalanceChange& change) = 0;
};

}  // namespace sluice::contract
