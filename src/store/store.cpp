#include "store/store.h"

#include "store/numbering.h"
#include "store/usage_totals.h"

namespace sluice::store {
namespace {

StoredSnapshot snapshot_in(const Row& row) {
  return {row.number(0), row.number(1), std::string(row.text(2))};
}

struct Holder {
  QuotaHolder holder;
  std::string_view column;  // of usage_days
};
constexpr Holder kHolders[] = {
    {QuotaHolder::kKey, "access_key"},
    {QuotaHolder::kProject, "project"},
    {QuotaHolder::kTenant, "tenant"},
    {QuotaHolder::kModel, "model"},
};

std::string calendar_query(std::string_view column) {
  constexpr std::string_view kTokens =
      "(prompt_tokens + cached_tokens + output_tokens + reasoning_tokens)";
  return fmt::format(
      "SELECT name, SUM(CASE WHEN day = $1 THEN {0} ELSE 0 END), SUM({0}), "
      "SUM(CASE WHEN day = $1 THEN amount ELSE 0 END), SUM(amount) "
      "FROM usage_days JOIN names ON number = {1} WHERE day >= $2 AND day <= $1 GROUP BY name",
      kTokens, column);
}

}  // namespace

core::Result<std::unique_ptr<Store>> Store::open(const StoreAddress& address, OpenFor use) {
  auto database = TRY(open_database(address, use));
  return std::unique_ptr<Store>(new Store(std::move(database)));
}

core::Result<int64_t> Store::generation() {
  int64_t generation = 0;
  TRY(database_->query("SELECT COALESCE(MAX(generation), 0) FROM snapshots", {},
                       [&](const Row& row) { generation = row.number(0); }));
  return generation;
}

core::Result<std::optional<StoredSnapshot>> Store::latest_snapshot() {
  std::optional<StoredSnapshot> latest;
  TRY(
      database_->query("SELECT generation, published_unix_ns, json FROM snapshots "
                       "ORDER BY generation DESC LIMIT 1",
                       {}, [&](const Row& row) { latest = snapshot_in(row); }));
  return latest;
}

core::Result<std::optional<StoredSnapshot>> Store::snapshot(int64_t generation) {
  std::optional<StoredSnapshot> found;
  TRY(database_->query(
      "SELECT generation, published_unix_ns, json FROM snapshots WHERE generation = $1",
      {generation}, [&](const Row& row) { found = snapshot_in(row); }));
  return found;
}

core::Result<Published> Store::publish(const contract::Snapshot& snapshot, std::string_view json,
                                       int64_t unix_ns) {
  const auto transaction = TRY(Transaction::begin_write(database_.get()));
  const int64_t in_force = TRY(generation());
  if (in_force >= snapshot.generation) return Published::kStale;
  const int64_t inserted = TRY(database_->execute(
      "INSERT INTO snapshots (generation, published_unix_ns, json) VALUES ($1, $2, $3) "
      "ON CONFLICT (generation) DO NOTHING",
      {snapshot.generation, unix_ns, json}));
  if (inserted == 0) return Published::kStale;
  TRY(keep_prices(snapshot));
  TRY(transaction->commit());
  return Published::kNow;
}

core::Result<void> Store::keep_prices(const contract::Snapshot& snapshot) {
  for (const contract::Price& price : snapshot.prices) {
    TRY(database_->execute(
        "INSERT INTO prices (version, side, model, pool, valid_from_unix_s, prompt_token, "
        "cached_prompt_token, output_token, reasoning_token, compute_microsecond) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (version) DO NOTHING",
        {price.version, static_cast<int64_t>(price.side), price.model, price.pool,
         price.valid_from_unix_s, price.rates[0].nano_per_million, price.rates[1].nano_per_million,
         price.rates[2].nano_per_million, price.rates[3].nano_per_million,
         price.rates[4].nano_per_million}));
  }
  return {};
}

core::Result<std::vector<contract::Price>> Store::price_history() {
  std::vector<contract::Price> prices;
  TRY(database_->query(
      "SELECT version, side, model, pool, valid_from_unix_s, prompt_token, cached_prompt_token, "
      "output_token, reasoning_token, compute_microsecond FROM prices ORDER BY version",
      {}, [&](const Row& row) {
        contract::Price price{.version = row.number(0),
                              .side = static_cast<contract::PriceSide>(row.number(1)),
                              .model = std::string(row.text(2)),
                              .pool = std::string(row.text(3)),
                              .valid_from_unix_s = row.number(4)};
        for (int unit = 0; unit < contract::kUnits; ++unit)
          price.rates[unit].nano_per_million = row.number(5 + unit);
        prices.push_back(std::move(price));
      }));
  return prices;
}

core::Result<std::vector<StoredChange>> Store::changes(const ChangeCursor& behind,
                                                       int64_t count_max) {
  std::vector<StoredChange> changes;
  TRY(database_->query(
      "SELECT generation, gateway, sequence, actor, action, object, hash_before, hash_after, "
      "unix_ns FROM changes WHERE (generation, gateway, sequence) > ($1, $2, $3) "
      "ORDER BY generation, gateway, sequence LIMIT $4",
      {behind.generation, behind.gateway, behind.sequence, count_max}, [&](const Row& row) {
        changes.push_back({.cursor = {row.number(0), row.number(1), row.number(2)},
                           .change = {.actor = std::string(row.text(3)),
                                      .action = std::string(row.text(4)),
                                      .object = std::string(row.text(5)),
                                      .hash_before = std::string(row.text(6)),
                                      .hash_after = std::string(row.text(7)),
                                      .generation = row.number(0),
                                      .unix_ns = row.number(8)}});
      }));
  return changes;
}

core::Result<std::vector<CalendarUse>> Store::calendar_use(int64_t unix_ns) {
  const int64_t today = day_of(unix_ns);
  std::vector<CalendarUse> uses;
  for (const Holder& holder : kHolders) {
    TRY(database_->query(calendar_query(holder.column), {today, first_day_of_month(today)},
                         [&](const Row& row) {
                           uses.push_back({.holder = holder.holder,
                                           .id = std::string(row.text(0)),
                                           .day_tokens = row.number(1),
                                           .month_tokens = row.number(2),
                                           .day_money = {row.number(3)},
                                           .month_money = {row.number(4)}});
                         }));
  }
  return uses;
}

core::Result<uint64_t> Store::applied_sequence(uint64_t gateway) {
  uint64_t sequence = 0;
  TRY(database_->query("SELECT applied_sequence FROM gateways WHERE gateway = $1",
                       {static_cast<int64_t>(gateway)},
                       [&](const Row& row) { sequence = static_cast<uint64_t>(row.number(0)); }));
  return sequence;
}

core::Result<std::vector<Balance>> Store::balances() {
  std::vector<Balance> balances;
  TRY(database_->query(
      "SELECT kind, owner, balance FROM accounts ORDER BY kind, owner", {}, [&](const Row& row) {
        balances.push_back(
            {{static_cast<ledger::AccountKind>(row.number(0)), std::string(row.text(1))},
             {row.number(2)}});
      }));
  return balances;
}

core::Result<std::optional<contract::BalanceChange>> Store::balance_change(std::string_view id) {
  std::optional<contract::BalanceChange> found;
  TRY(database_->query(
      "SELECT id, tenant, kind, amount, actor, reason, unix_ns FROM balance_changes WHERE id = $1",
      {id}, [&](const Row& row) {
        found = {.id = std::string(row.text(0)),
                 .tenant = std::string(row.text(1)),
                 .kind = static_cast<contract::BalanceChange::Kind>(row.number(2)),
                 .amount = {row.number(3)},
                 .actor = std::string(row.text(4)),
                 .reason = std::string(row.text(5)),
                 .unix_ns = row.number(6)};
      }));
  return found;
}

core::Result<std::vector<contract::Reservation>> Store::open_reservations() {
  std::vector<contract::Reservation> open;
  TRY(database_->query(
      "SELECT request, gateway, start, tenants.name, keys.name, models.name, started_unix_ns, "
      "amount, tokens FROM reservations JOIN starts ON starts.number = (request >> 40) "
      "JOIN names AS tenants ON tenants.number = tenant "
      "JOIN names AS keys ON keys.number = access_key "
      "JOIN names AS models ON models.number = model ORDER BY request",
      {}, [&](const Row& row) {
        open.push_back({.id = request_of(row.number(0), row.number(1), row.number(2)),
                        .tenant = std::string(row.text(3)),
                        .key = std::string(row.text(4)),
                        .model = std::string(row.text(5)),
                        .started_unix_ns = row.number(6),
                        .amount = {row.number(7)},
                        .tokens = row.number(8)});
      }));
  return open;
}

}  // namespace sluice::store
