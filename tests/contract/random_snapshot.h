// Snapshots that are valid and use every field, from a seed.
#pragma once

#include <string>

#include <fmt/format.h>

#include "contract/snapshot.h"
#include "core/rng.h"

namespace sluice::contract {

class RandomSnapshot {
 public:
  explicit RandomSnapshot(uint64_t seed) : random_(seed) {}

  Snapshot make() {
    Snapshot s;
    s.generation = random_.below(1000);
    for (int64_t i = 0, n = 1 + random_.below(4); i < n; ++i) s.tenants.push_back(tenant(i));
    for (int64_t i = 0, n = 1 + random_.below(4); i < n; ++i)
      s.projects.push_back({fmt::format("project-{}", i), any(s.tenants), limits()});
    for (int64_t i = 0, n = 1 + random_.below(3); i < n; ++i) s.pools.push_back(pool(i));
    for (int64_t i = 0, n = 1 + random_.below(4); i < n; ++i) s.models.push_back(model(i, s));
    for (int64_t i = 0, n = random_.below(6); i < n; ++i) s.replicas.push_back(replica(i, s));
    for (int64_t i = 0, n = random_.below(8); i < n; ++i) s.keys.push_back(key(i, s));
    for (int64_t i = 0, n = random_.below(6); i < n; ++i) s.prices.push_back(price(i, s));
    return s;
  }

 private:
  bool coin() { return random_.below(2) == 1; }
  template <typename T>
  std::string any(const std::vector<T>& objects) {
    return objects[static_cast<size_t>(random_.below(std::ssize(objects)))].id;
  }
  std::string text() {
    constexpr std::string_view kPieces[] = {"a",  "\"", "\\",   "\n", "é",
                                            "漢", " ",  "\x01", "/",  "7"};
    std::string out;
    for (int64_t i = random_.below(8); i > 0; --i)
      out += kPieces[static_cast<size_t>(random_.below(std::size(kPieces)))];
    return out;
  }
  int64_t duration_ns() { return random_.below(864'000'000'000'000); }
  std::optional<int64_t> maybe_limit() {
    return coin() ? std::optional(random_.below(INT64_MAX / 2)) : std::nullopt;
  }
  std::optional<NanoMoney> maybe_money() {
    return coin() ? std::optional(NanoMoney{random_.below(INT64_MAX / 2)}) : std::nullopt;
  }

  Limits limits() {
    return {.requests_per_minute = maybe_limit(),
            .input_tokens_per_minute = maybe_limit(),
            .output_tokens_per_minute = maybe_limit(),
            .tokens_per_minute = maybe_limit(),
            .concurrent_streams = maybe_limit(),
            .tokens_per_day = maybe_limit(),
            .tokens_per_month = maybe_limit(),
            .money_per_day = maybe_money(),
            .money_per_month = maybe_money(),
            .burst_ms = 1 + random_.below(86'400'000)};
  }
  TargetPart part() { return {duration_ns(), static_cast<Statistic>(random_.below(3))}; }
  RequestDefaults defaults() {
    RequestDefaults d;
    if (coin()) {
      d.target.emplace();
      d.target->ttft = part();
      d.target->tpot = part();
      d.target->total = part();
    }
    if (coin()) d.policy = static_cast<Policy>(random_.below(4));
    if (coin()) d.data_class = static_cast<DataClass>(random_.below(3));
    if (coin()) d.priority = static_cast<int32_t>(random_.below(200) - 100);
    return d;
  }
  Tenant tenant(int64_t i) { return {fmt::format("tenant.{}", i), text(), limits(), coin()}; }
  Pool pool(int64_t i) {
    Pool pool{.id = fmt::format("pool_{}", i), .round_trip_ns = duration_ns()};
    pool.place = coin() ? Place::kLocal : Place::kRemote;
    if (coin()) pool.owner = "supplier";
    if (pool.place == Place::kRemote) pool.data_classes = {DataClass::kPublic};
    if (coin()) pool.capacity.streams_max = 1 + random_.below(1000);
    if (coin()) pool.capacity.tokens_per_minute = 1 + random_.below(1'000'000);
    return pool;
  }
  Model model(int64_t i, const Snapshot& s) {
    Model model{.id = fmt::format("Org/Model-{}", i), .digest = text()};
    model.vocabulary_file = text();
    model.context_tokens = 100 + random_.below(100'000);
    model.max_tokens_default = random_.below(100);
    model.limits = limits();
    model.defaults = defaults();
    if (!s.models.empty() && coin()) model.fallbacks = {any(s.models)};  // earlier: no cycle
    model.created_unix_s = random_.below(INT64_MAX / 2);
    return model;
  }
  Replica replica(int64_t i, const Snapshot& s) {
    Replica replica{.id = fmt::format("replica-{}", i), .pool = any(s.pools)};
    replica.model = any(s.models);
    replica.kind = static_cast<ReplicaKind>(random_.below(2));
    replica.url = coin() ? "https://api.example.com/v1" : "http://[::1]:8080";
    replica.upstream_model = text();
    replica.secret = text();
    if (replica.url.starts_with("https")) replica.certificate_file = text();
    replica.continuation = static_cast<Continuation>(random_.below(3));
    replica.state = static_cast<ReplicaState>(random_.below(7));
    replica.ready_at_unix_ns = random_.below(INT64_MAX / 2);
    replica.speed = {1 + random_.unit() * 1e6, 1 / (1 + random_.unit()), 1e-3 + random_.unit(),
                     1 + random_.below(1000)};
    return replica;
  }
  Key key(int64_t i, const Snapshot& s) {
    Key key{.id = fmt::format("key_{}", i), .project = any(s.projects)};
    key.hash = fmt::format("{:016x}{:016x}{:016x}{:016x}", random_.bits(), random_.bits(),
                           random_.bits(), random_.bits());
    key.hash_key_id = "h1";
    key.hint = "abcd";
    key.created_unix_s = random_.below(INT64_MAX / 2);
    key.expires_unix_s = random_.below(INT64_MAX / 2);
    if (coin()) key.models = {any(s.models)};
    if (coin()) key.networks = {"10.0.0.0/8", "2001:db8::/32", "127.0.0.1"};
    if (coin()) key.labels = {{"team", text()}, {"a.b", text()}};
    key.limits = limits();
    key.defaults = defaults();
    key.admin = coin();
    key.revoked = coin();
    return key;
  }
  Price price(int64_t i, const Snapshot& s) {
    Price price{.version = i + 1, .side = static_cast<PriceSide>(random_.below(2))};
    if (coin()) price.model = any(s.models);
    if (coin()) price.pool = any(s.pools);
    price.valid_from_unix_s = i;
    for (Rate& rate : price.rates) rate.nano_per_million = random_.below(10'000'000'000'000);
    return price;
  }

  core::Rng random_;
};

}  // namespace sluice::contract
