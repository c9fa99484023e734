#include "tests/store/record_stream.h"

#include <fmt/core.h>

#include "contract/request_id.h"

namespace sluice::store {
namespace {

constexpr int64_t kFirstUnixNs = 1'763'769'600'000'000'000;  // 2025-11-22
constexpr int64_t kDayNs = 86'400'000'000'000;
constexpr int64_t kTenants = 5;
constexpr int64_t kKeys = 20;
constexpr int64_t kModels = 3;

std::string tenant_of_key(int64_t key) {
  return fmt::format("tenant-{}", key % kTenants);
}

}  // namespace

RecordStream::RecordStream(const Options& options) : options_(options), rng_(options.seed) {
  for (int64_t version = 1; version <= 4; ++version) {
    contract::Price price;
    price.version = version;
    price.side = version % 2 == 1 ? contract::PriceSide::kSale : contract::PriceSide::kCost;
    for (auto& rate : price.rates) rate.nano_per_million = 1 + rng_.below(900'000'000'000);
    prices_.push_back(price);
  }
}

contract::Record RecordStream::next() {
  const int64_t dice = rng_.below(1000);
  if (dice < 2) return balance_change();
  if (dice < 4) return change();
  if (dice < 30) return refusal();
  const auto running = static_cast<int64_t>(running_.size());
  const bool ends = running > 0 && (running >= options_.running_max || dice % 2 == 0);
  if (!ends) {
    running_.push_back(begin());
    return running_.back();
  }
  std::swap(running_[static_cast<size_t>(rng_.below(running))], running_.back());
  const contract::Reservation reservation = running_.back();
  running_.pop_back();
  return end(reservation);
}

std::vector<contract::Record> RecordStream::finish() {
  std::vector<contract::Record> events;
  for (const contract::Reservation& reservation : running_) events.push_back(end(reservation));
  running_.clear();
  return events;
}

contract::RequestId RecordStream::next_id() {
  return {options_.gateway, options_.start << contract::kRequestCountBits | ++requests_};
}

contract::Reservation RecordStream::begin() {
  const int64_t key = rng_.below(kKeys);
  return {.id = next_id(),
          .tenant = tenant_of_key(key),
          .key = fmt::format("key_{}", key),
          .model = fmt::format("model-{}", rng_.below(kModels)),
          .started_unix_ns = kFirstUnixNs + rng_.below(options_.days * kDayNs),
          // Some keys cost nothing.
          .amount = {key == 0 ? 0 : rng_.below(3'000'000'000)},
          .tokens = rng_.below(5000)};
}

contract::UsageEvent RecordStream::refusal() {
  contract::Reservation never = begin();
  never.amount = {};
  contract::UsageEvent event = end(never);
  event.outcome = contract::Outcome::kRefused;
  event.decision = contract::ValveDecision::kRefused;
  event.status = 429;
  event.lines.clear();
  return event;
}

contract::UsageEvent RecordStream::end(const contract::Reservation& reservation) {
  contract::UsageEvent event;
  event.id = reservation.id;
  if (rng_.below(10) == 0) event.parent = {options_.gateway, reservation.id.sequence - 1};
  event.kind = static_cast<contract::EventKind>(rng_.below(3));
  event.outcome = static_cast<contract::Outcome>(rng_.below(contract::kOutcomes));
  event.decision = static_cast<contract::ValveDecision>(rng_.below(9));
  event.target_met = rng_.below(20) != 0;
  event.tenant = reservation.tenant;
  event.project = reservation.tenant + "-project";
  event.key = reservation.key;
  event.model = reservation.model;
  event.model_digest = reservation.model + "-0123456789abcdef0123456789abcdef";
  event.finish_reason = rng_.below(2) == 0 ? "stop" : "length";
  event.started_unix_ns = reservation.started_unix_ns;
  event.ttft_ns = rng_.below(1'000'000'000);
  event.tpot_ns = rng_.below(50'000'000);
  event.total_ns = rng_.below(60'000'000'000);
  event.reserved = reservation.amount;
  const int64_t replicas = rng_.below(3);  // two: the stream was handed over; none: no usage
  for (int64_t replica = 0; replica < replicas; ++replica) {
    for (int unit = 0; unit < contract::kUnits; ++unit)
      if (rng_.below(2) == 0)
        event.lines.push_back(line(static_cast<contract::Unit>(unit), replica));
  }
  return event;
}

contract::UsageLine RecordStream::line(contract::Unit unit, int64_t replica) {
  const contract::Price& sale = prices_[static_cast<size_t>(2 * rng_.below(2))];
  const contract::Price& cost = prices_[static_cast<size_t>(1 + 2 * rng_.below(2))];
  contract::UsageLine line;
  line.replica = fmt::format("replica-{}", replica);
  line.pool = replica == 0 ? "local" : "rented";
  line.owner = replica == 0 ? "" : "gpu-co";
  line.unit = unit;
  line.side = static_cast<contract::LineSide>(rng_.below(3));
  line.quantity = rng_.below(4000);
  if (line.side != contract::LineSide::kCostOnly) {
    line.sale_version = sale.version;
    line.amount = contract::amount_of(line.quantity, sale.rates[static_cast<size_t>(unit)]);
  }
  if (line.side != contract::LineSide::kSaleOnly) {
    line.cost_version = cost.version;
    line.cost = contract::amount_of(line.quantity, cost.rates[static_cast<size_t>(unit)]);
  }
  return line;
}

contract::BalanceChange RecordStream::balance_change() {
  contract::BalanceChange change;
  // An id in three comes again.
  change.id = fmt::format("payment-{}", rng_.below(3) == 0 ? changes_ : ++changes_);
  change.tenant = tenant_of_key(rng_.below(kTenants));
  const bool top_up = rng_.below(2) == 0;
  change.kind =
      top_up ? contract::BalanceChange::Kind::kTopUp : contract::BalanceChange::Kind::kAdjustment;
  change.amount = {rng_.below(9'000'000'000) - (top_up ? 0 : 4'000'000'000)};
  change.actor = "key_admin";
  change.reason = "test";
  change.unix_ns = kFirstUnixNs;
  return change;
}

contract::ChangeRecord RecordStream::change() {
  return {.actor = "key_admin",
          .action = "keys.create",
          .object = fmt::format("key/key_{}", rng_.below(kKeys)),
          .hash_before = "",
          .hash_after = "ab",
          .generation = ++changes_,
          .unix_ns = kFirstUnixNs};
}

}  // namespace sluice::store
