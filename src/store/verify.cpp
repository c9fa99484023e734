#include "store/verify.h"

#include <array>
#include <map>
#include <tuple>

#include "contract/record_codec.h"
#include "contract/snapshot.h"
#include "ledger/account.h"
#include "store/event_rows.h"
#include "store/numbering.h"
#include "store/usage_totals.h"

namespace sluice::store {
namespace {

using Balances = std::map<ledger::Account, int64_t>;
struct Flow {
  ledger::TransferKind kind;
  ledger::Account from;
  ledger::Account to;
  auto operator<=>(const Flow&) const = default;
};
struct Moved {
  int64_t transfers = 0;
  int64_t amount = 0;
  bool operator==(const Moved&) const = default;
};
using Flows = std::map<Flow, Moved>;
// day, tenant, project, key, model
using DayKey = std::tuple<int64_t, std::string, std::string, std::string, std::string>;
using Days = std::map<DayKey, UsageTotals>;
using Rates = std::map<int64_t, std::array<contract::Rate, contract::kUnits>>;  // by version

core::Result<Balances> kept_balances(Database* database) {
  Balances kept;
  TRY(database->query("SELECT kind, owner, balance FROM accounts", {}, [&](const Row& row) {
    kept[{static_cast<ledger::AccountKind>(row.number(0)), std::string(row.text(1))}] =
        row.number(2);
  }));
  return kept;
}

int64_t sum_of(const Balances& balances) {
  int64_t sum = 0;
  for (const auto& [account, amount] : balances) sum += amount;
  return sum;
}

class Verifier {
 public:
  explicit Verifier(Database* database) : database_(database) {}

  core::Result<Verification> run() {
    TRY(read_prices());
    TRY(recompute_from_events());
    TRY(recompute_from_reservations());
    TRY(recompute_from_balance_changes());
    TRY(compare_transfers());
    TRY(compare_balances());
    TRY(compare_days());
    return std::move(found_);
  }

 private:
  template <typename... Args>
  void fault(fmt::format_string<Args...> format, Args&&... args) {
    ++found_.faults;
    if (found_.faults <= Verification::kFaultsShown)
      found_.first_faults.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  core::Result<void> read_prices();
  core::Result<void> recompute_from_events();
  core::Result<void> recompute_from_reservations();
  core::Result<void> recompute_from_balance_changes();
  core::Result<Flows> kept_flows();
  core::Result<void> compare_transfers();
  core::Result<void> compare_balances();
  core::Result<void> compare_days();

  void take(const contract::UsageEvent& event);
  void check_line(const contract::UsageEvent& event, const contract::UsageLine& line);
  void check_amount(const contract::UsageEvent& event, int64_t version,
                    const contract::UsageLine& line, contract::NanoMoney amount);
  void post(const contract::Record& record, std::string_view of);
  int64_t balance(const Balances& balances, const ledger::Account& account) const {
    const auto found = balances.find(account);
    return found == balances.end() ? 0 : found->second;
  }

  Database* database_;
  Verification found_;
  Rates rates_;
  Flows recomputed_;
  Balances open_;  // of reserved accounts
  Days days_;
};

core::Result<void> Verifier::read_prices() {
  return database_->query(
      "SELECT version, prompt_token, cached_prompt_token, output_token, reasoning_token, "
      "compute_microsecond FROM prices",
      {}, [&](const Row& row) {
        auto& rates = rates_[row.number(0)];
        for (int unit = 0; unit < contract::kUnits; ++unit)
          rates[unit].nano_per_million = row.number(1 + unit);
      });
}

core::Result<void> Verifier::recompute_from_events() {
  return for_each_event(database_, "", {}, [&](const contract::UsageEvent& event) { take(event); });
}

void Verifier::take(const contract::UsageEvent& event) {
  ++found_.events;
  found_.lines += static_cast<int64_t>(event.lines.size());
  for (const contract::UsageLine& line : event.lines) check_line(event, line);
  days_[{day_of(event.started_unix_ns), event.tenant, event.project, event.key, event.model}].add(
      event);
  const std::string of = contract::to_text(event.id);
  if (event.reserved.nano > 0)
    post(contract::Reservation{.id = event.id,
                               .tenant = event.tenant,
                               .key = event.key,
                               .model = event.model,
                               .started_unix_ns = event.started_unix_ns,
                               .amount = event.reserved,
                               .tokens = 0},
         of);
  post(event, of);
}

void Verifier::check_line(const contract::UsageEvent& event, const contract::UsageLine& line) {
  if (line.side != contract::LineSide::kCostOnly)
    check_amount(event, line.sale_version, line, line.amount);
  if (line.side != contract::LineSide::kSaleOnly)
    check_amount(event, line.cost_version, line, line.cost);
}

void Verifier::check_amount(const contract::UsageEvent& event, int64_t version,
                            const contract::UsageLine& line, contract::NanoMoney amount) {
  if (version == 0 && amount.nano != 0)
    fault("{}: a line without a price has the amount {}", contract::to_text(event.id), amount.nano);
  const auto rates = rates_.find(version);
  if (rates == rates_.end()) {
    if (version != 0) ++found_.amounts_unchecked;
    return;
  }
  const auto due =
      contract::amount_of(line.quantity, rates->second[static_cast<size_t>(line.unit)]);
  if (due != amount)
    fault("{}: {} at price version {} come to {}, the line says {}", contract::to_text(event.id),
          line.quantity, version, due.nano, amount.nano);
}

void Verifier::post(const contract::Record& record, std::string_view of) {
  const auto transfers = ledger::transfers_of(record);
  if (!transfers.ok()) {
    fault("{}: {}", of, transfers.error().message);
    return;
  }
  for (const ledger::Transfer& transfer : *transfers) {
    Moved& moved = recomputed_[{transfer.kind, transfer.from, transfer.to}];
    moved.transfers += 1;
    moved.amount += transfer.amount.nano;
  }
}

core::Result<void> Verifier::recompute_from_reservations() {
  return database_->query(
      "SELECT tenants.name, amount, reservations.request, events.request "
      "FROM reservations JOIN names AS tenants ON tenants.number = reservations.tenant "
      "LEFT JOIN events ON events.request = reservations.request",
      {}, [&](const Row& row) {
        ++found_.open_reservations;
        contract::Reservation reservation;
        reservation.tenant = row.text(0);
        reservation.amount.nano = row.number(1);
        if (!row.text(3).empty())
          fault("request number {} has an event and an open reservation", row.number(2));
        open_[{ledger::AccountKind::kReserved, reservation.tenant}] += reservation.amount.nano;
        post(reservation, "an open reservation");
      });
}

core::Result<void> Verifier::recompute_from_balance_changes() {
  return database_->query("SELECT id, tenant, kind, amount FROM balance_changes", {},
                          [&](const Row& row) {
                            ++found_.balance_changes;
                            contract::BalanceChange change;
                            change.id = row.text(0);
                            change.tenant = row.text(1);
                            change.kind = static_cast<contract::BalanceChange::Kind>(row.number(2));
                            change.amount.nano = row.number(3);
                            post(change, change.id);
                          });
}

// Added up here and not by the database: SQLite would sort all of them in memory.
core::Result<Flows> Verifier::kept_flows() {
  std::map<std::array<int64_t, 3>, Moved> by_number;  // kind, from, to
  TRY(database_->query("SELECT kind, from_account, to_account, amount FROM transfers", {},
                       [&](const Row& row) {
                         Moved& moved = by_number[{row.number(0), row.number(1), row.number(2)}];
                         moved.transfers += 1;
                         moved.amount += row.number(3);
                       }));
  std::map<int64_t, ledger::Account> accounts;
  TRY(database_->query("SELECT number, kind, owner FROM accounts", {}, [&](const Row& row) {
    accounts[row.number(0)] = {static_cast<ledger::AccountKind>(row.number(1)),
                               std::string(row.text(2))};
  }));
  Flows flows;
  for (const auto& [numbers, moved] : by_number) {
    const auto [kind, from, to] = numbers;
    flows[{static_cast<ledger::TransferKind>(kind), accounts[from], accounts[to]}] = moved;
    found_.transfers += moved.transfers;
  }
  return flows;
}

core::Result<void> Verifier::compare_transfers() {
  Flows kept = TRY(kept_flows());
  for (const auto& [flow, moved] : recomputed_) kept.try_emplace(flow);
  for (const auto& [flow, moved] : kept) {
    const auto due = recomputed_.find(flow);
    const Moved none;
    const Moved& expected = due == recomputed_.end() ? none : due->second;
    if (moved != expected)
      fault("{} from {} to {}: {} transfers of {} together, the events come to {} of {}",
            ledger::to_text(flow.kind), ledger::to_text(flow.from), ledger::to_text(flow.to),
            moved.transfers, moved.amount, expected.transfers, expected.amount);
  }
  return {};
}

core::Result<void> Verifier::compare_balances() {
  Balances due;
  for (const auto& [flow, moved] : recomputed_) {
    due[flow.from] -= moved.amount;
    due[flow.to] += moved.amount;
  }
  Balances kept = TRY(kept_balances(database_));
  found_.accounts = static_cast<int64_t>(kept.size());
  for (const auto& [account, amount] : due) kept.try_emplace(account, 0);
  for (const auto& [account, amount] : kept) {
    if (amount != balance(due, account))
      fault("{}: the balance is {}, the events come to {}", ledger::to_text(account), amount,
            balance(due, account));
    if (account.kind == ledger::AccountKind::kReserved && amount != balance(open_, account))
      fault("{}: {} is reserved, open reservations come to {}", ledger::to_text(account), amount,
            balance(open_, account));
  }
  if (const int64_t sum = sum_of(kept); sum != 0) fault("all balances together are {}, not 0", sum);
  return {};
}

core::Result<void> Verifier::compare_days() {
  TRY(database_->query(
      "SELECT day, t.name, p.name, k.name, m.name, requests, refused, failed, missed, "
      "prompt_tokens, cached_tokens, output_tokens, reasoning_tokens, compute_us, amount, cost "
      "FROM usage_days JOIN names AS t ON t.number = tenant JOIN names AS p ON p.number = project "
      "JOIN names AS k ON k.number = access_key JOIN names AS m ON m.number = model",
      {}, [&](const Row& row) {
        ++found_.days;
        const DayKey key{row.number(0), row.text(1), row.text(2), row.text(3), row.text(4)};
        const UsageTotals kept{.requests = row.number(5),
                               .refused = row.number(6),
                               .failed = row.number(7),
                               .missed = row.number(8),
                               .prompt_tokens = row.number(9),
                               .cached_tokens = row.number(10),
                               .output_tokens = row.number(11),
                               .reasoning_tokens = row.number(12),
                               .compute_us = row.number(13),
                               .amount = {row.number(14)},
                               .cost = {row.number(15)}};
        const auto due = days_.find(key);
        if (due == days_.end() || due->second != kept)
          fault("usage of day {}, key '{}', model '{}' is not the sum of its events", row.number(0),
                row.text(3), row.text(4));
        if (due != days_.end()) days_.erase(due);
      }));
  for (const auto& [key, totals] : days_)
    fault("usage of day {}, key '{}', model '{}' is missing: {} requests", std::get<0>(key),
          std::get<3>(key), std::get<4>(key), totals.requests);
  return {};
}

}  // namespace

core::Result<Verification> verify(Database* database) {
  const auto transaction = TRY(Transaction::begin_read(database));
  auto found = TRY(Verifier(database).run());
  TRY(transaction->commit());
  return found;
}

core::Result<std::vector<std::string>> check_balances(Database* database) {
  const auto transaction = TRY(Transaction::begin_read(database));
  const Balances kept = TRY(kept_balances(database));
  Balances open;
  TRY(database->query(
      "SELECT names.name, CAST(SUM(amount) AS BIGINT) FROM reservations "
      "JOIN names ON names.number = reservations.tenant GROUP BY names.name",
      {}, [&](const Row& row) {
        open[{ledger::AccountKind::kReserved, std::string(row.text(0))}] = row.number(1);
      }));
  TRY(transaction->commit());
  std::vector<std::string> faults;
  if (const int64_t sum = sum_of(kept); sum != 0)
    faults.push_back(fmt::format("all balances together are {}, not 0", sum));
  for (const auto& [account, amount] : kept)
    if (account.kind == ledger::AccountKind::kReserved) open.try_emplace(account, 0);
  for (const auto& [account, amount] : open) {
    const auto reserved = kept.find(account);
    const int64_t found = reserved == kept.end() ? 0 : reserved->second;
    if (found != amount)
      faults.push_back(fmt::format("{}: {} is reserved, open reservations come to {}",
                                   ledger::to_text(account), found, amount));
  }
  return faults;
}

}  // namespace sluice::store
