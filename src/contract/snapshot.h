// What the gateway is told to do: tenants, keys, limits, prices, pools, replicas and models, as one
// versioned value. The configuration file, the admin API and, later, control write it; the gateway
// reads nothing else. contract/snapshot_json.h writes and reads its text.
//
// Plain data with names for references: gateway/directory.h is the same made fast to look up.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "contract/money.h"

namespace sluice::contract {

// ---- targets and policies -------------------------------------------------------------------

enum class Statistic : uint8_t { kMean, kP50, kP99 };

struct TargetPart {
  int64_t limit_ns = 0;  // 0: nothing is promised
  Statistic statistic = Statistic::kP99;
  bool operator==(const TargetPart&) const = default;
};

// What a request shall meet. total: from the first byte in to the last byte out.
struct Target {
  TargetPart ttft = {};
  TargetPart tpot = {};  // mean over the tokens of one answer after the first
  TargetPart total = {};
  bool operator==(const Target&) const = default;
};

enum class Policy : uint8_t { kLocalOnly, kLocalFirst, kCheapest, kFastest };

// Who may see the data of a request. Private data never leaves local pools.
enum class DataClass : uint8_t { kPublic, kInternal, kPrivate };

// What a request inherits where it says nothing itself: the key's, else the model's, else these.
struct RequestDefaults {
  std::optional<Target> target = {};
  std::optional<Policy> policy = {};         // else kLocalFirst
  std::optional<DataClass> data_class = {};  // else kInternal
  std::optional<int32_t> priority = {};      // higher first; else 0
  bool operator==(const RequestDefaults&) const = default;
};

// ---- who: tenant → project → key -----------------------------------------------------------

// nullopt: no limit. Each holds for the object it hangs on, beside those of the others.
struct Limits {
  std::optional<int64_t> requests_per_minute = {};
  std::optional<int64_t> input_tokens_per_minute = {};
  std::optional<int64_t> output_tokens_per_minute = {};
  std::optional<int64_t> tokens_per_minute = {};  // input and output together
  std::optional<int64_t> concurrent_streams = {};
  std::optional<int64_t> tokens_per_day = {};    // UTC calendar day
  std::optional<int64_t> tokens_per_month = {};  // UTC calendar month
  std::optional<NanoMoney> money_per_day = {};
  std::optional<NanoMoney> money_per_month = {};
  int64_t burst_ms = 60'000;  // of the per-minute limits: so long saved up may be spent at once
  bool operator==(const Limits&) const = default;
};

struct Tenant {
  std::string id = {};  // "acme"; ids: [a-z0-9][a-z0-9._-]{0,62}
  std::string name = {};
  Limits limits = {};
  bool prepaid = false;  // its balance of the ledger bounds what it may reserve
  bool operator==(const Tenant&) const = default;
};

struct Project {
  std::string id = {};  // unique in the gateway
  std::string tenant = {};
  Limits limits = {};
  bool operator==(const Project&) const = default;
};

struct Key {
  static constexpr int64_t kShareMax = 1000;
  std::string id = {};  // "key_…", public: logs and usage name it
  std::string project = {};
  std::string hash = {};         // HMAC-SHA-256 of the secret, hexadecimal
  std::string hash_key_id = {};  // which secret of the gateway made the HMAC
  std::string hint = {};         // the secret's last four characters
  int64_t created_unix_s = 0;
  int64_t expires_unix_s = 0;              // 0: never
  std::vector<std::string> models = {};    // empty: every model
  std::vector<std::string> networks = {};  // "10.0.0.0/8", "::1/128"; empty: from everywhere
  std::map<std::string, std::string> labels = {};
  Limits limits = {};
  RequestDefaults defaults = {};
  int64_t share = 1;     // of compute beside other keys, while requests wait: 1 to kShareMax
  bool admin = false;    // may call /admin/v1
  bool revoked = false;  // kept, so that usage can be read
  bool operator==(const Key&) const = default;
};

// ---- where: pools, replicas, models ---------------------------------------------------------

enum class Place : uint8_t { kLocal, kRemote };

// What a pool takes at once over all its replicas and models, beside what each replica takes: a
// rented account's quota, a card that several engines share. nullopt: no bound of its own.
struct PoolCapacity {
  std::optional<int64_t> streams_max = {};
  std::optional<int64_t> tokens_per_minute = {};  // input and output together
  bool operator==(const PoolCapacity&) const = default;
};

struct Pool {
  std::string id = {};
  Place place = Place::kLocal;
  std::string owner = {};  // a supplier of compute; "" is the platform itself
  std::vector<DataClass> data_classes = {DataClass::kPublic, DataClass::kInternal,
                                         DataClass::kPrivate};  // a remote never has kPrivate
  int64_t round_trip_ns = 0;                                    // added to what its replicas need
  PoolCapacity capacity = {};
  bool operator==(const Pool&) const = default;
};

enum class ReplicaState : uint8_t {
  kPlaced,
  kStaging,
  kStarting,
  kReady,
  kDraining,
  kAsleep,
  kLost
};

enum class ReplicaKind : uint8_t {
  kSluice,  // knows our extension object, token ids, /internal/events
  kOpenAi,  // any URL that speaks OpenAI's API
};

// How a stream that broke off is continued from the text that the client has. (kSluice needs none
// of it: token ids say the same exactly.) Either way a completion's prompt is lengthened by the
// text.
enum class Continuation : uint8_t {
  kNone,          // not at all
  kFinalMessage,  // add_generation_prompt false, continue_final_message true (vLLM, SGLang)
  kPrefix,        // "prefix": true in the last message (DeepSeek, Mistral)
};

// What is known of a replica's speed before it was seen at work; corrected online.
struct Speed {
  double prefill_tokens_per_s = 2000.0;
  double decode_tokens_per_s = 50.0;       // of one stream alone
  double decode_tokens_per_s_max = 500.0;  // of all streams together
  int64_t streams_max = 64;
  bool operator==(const Speed&) const = default;
};

struct Replica {
  std::string id = {};
  std::string pool = {};
  std::string model = {};  // a Model's id
  ReplicaKind kind = ReplicaKind::kOpenAi;
  std::string url = {};  // "https://api.example.com/v1": scheme, host, port, path prefix; may be ""
                         // before it is ready
  std::string upstream_model = {};    // the name it knows the model by; "" the same
  std::string secret = {};            // name of the secret that is sent as its key; "" none
  std::string certificate_file = {};  // PEM of the authorities to trust; "" the system's
  Continuation continuation = Continuation::kNone;
  bool cache_salt = false;  // it knows vLLM's field "cache_salt" and is sent the tenant's
  ReplicaState state = ReplicaState::kReady;
  int64_t ready_at_unix_ns = 0;  // predicted; kStarting, kStaging
  Speed speed = {};
  bool operator==(const Replica&) const = default;
};

struct Model {
  std::string id = {};  // the name that clients send
  std::string digest = {};
  std::string vocabulary_file =
      {};                      // a GGUF: exact counts and prefix blocks by token id; "" estimates
  int64_t context_tokens = 0;  // 0: unknown
  int64_t max_tokens_default = 0;  // reserved where a request names none; 0: the context
  Limits limits = {};
  RequestDefaults defaults = {};
  std::vector<std::string> fallbacks = {};  // models, in order, when this one has no replica
  int64_t created_unix_s = 0;
  bool operator==(const Model&) const = default;
};

// ---- prices -------------------------------------------------------------------------------

enum class PriceSide : uint8_t {
  kSale,  // what a tenant pays to the platform
  kCost,  // what the platform owes to a pool's owner
};

// The price with the most particular match holds: (model, pool), (model, any), (any, pool),
// (any, any); of equals the one with the latest valid_from. Where none matches: nothing.
struct Price {
  int64_t version = 0;  // unique; usage lines name it
  PriceSide side = PriceSide::kSale;
  std::string model = {};  // "" any
  std::string pool = {};   // "" any
  int64_t valid_from_unix_s = 0;
  std::array<Rate, kUnits> rates = {};  // by Unit
  bool operator==(const Price&) const = default;
};

struct Snapshot {
  int64_t generation = 0;  // an older one than the one in force is refused
  std::vector<Tenant> tenants = {};
  std::vector<Project> projects = {};
  std::vector<Key> keys = {};
  std::vector<Pool> pools = {};
  std::vector<Replica> replicas = {};
  std::vector<Model> models = {};
  std::vector<Price> prices = {};
  bool operator==(const Snapshot&) const = default;
};

}  // namespace sluice::contract
