#include "ledger/ledger.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "contract/request_id.h"

namespace sluice::ledger {
namespace {

using contract::NanoMoney;
using contract::RequestId;

NanoMoney of(const Balances& balances, const Account& account) {
  const auto found = balances.find(account);
  return found == balances.end() ? NanoMoney{} : found->second;
}

void compare_balances(const Books& books, const Ledger& recomputed,
                      std::vector<std::string>* faults) {
  std::set<Account> accounts;
  for (const auto& [account, balance] : books.balances) accounts.insert(account);
  for (const auto& [account, balance] : recomputed.balances()) accounts.insert(account);
  for (const Account& account : accounts) {
    const NanoMoney stored = of(books.balances, account);
    const NanoMoney expected = recomputed.balance(account);
    if (stored != expected)
      faults->push_back(fmt::format("{}: {} nano-units stand in the books, the records give {}",
                                    to_text(account), stored.nano, expected.nano));
  }
}

void check_sums(const Books& books, std::vector<std::string>* faults) {
  __int128 sum = 0;
  for (const auto& [account, balance] : books.balances) {
    sum += balance.nano;
    if (account.kind == AccountKind::kReserved && balance.nano < 0)
      faults->push_back(
          fmt::format("{}: {} nano-units, below zero", to_text(account), balance.nano));
  }
  if (sum != 0) faults->push_back(fmt::format("all accounts: the sum is {}, not 0", sum));
}

void compare_open(const Books& books, const Ledger& recomputed, std::vector<std::string>* faults) {
  const std::set<RequestId> stored(books.open_reservations.begin(), books.open_reservations.end());
  std::map<std::string, __int128> held;  // by tenant
  for (const auto& [id, reservation] : recomputed.open_reservations()) {
    held[reservation.tenant] += reservation.amount.nano;
    if (!stored.contains(id))
      faults->push_back(fmt::format("{}: open by the records, not in the books", to_text(id)));
  }
  for (const RequestId& id : stored)
    if (!recomputed.open_reservations().contains(id))
      faults->push_back(fmt::format("{}: open in the books, not by the records", to_text(id)));
  for (const auto& [account, balance] : books.balances)
    if (account.kind == AccountKind::kReserved && balance.nano != held[account.owner])
      faults->push_back(fmt::format("{}: {} nano-units, its open reservations are {}",
                                    to_text(account), balance.nano, held[account.owner]));
}

}  // namespace

core::Result<Applied> Ledger::apply(const contract::Record& record) {
  const std::vector<Transfer> transfers = TRY(transfers_of(record));
  return std::visit([&](const auto& each) { return apply_one(each, transfers); }, record);
}

NanoMoney Ledger::balance(const Account& account) const {
  return of(balances_, account);
}

core::Result<Applied> Ledger::apply_one(const contract::Reservation& reservation,
                                        const Transfers& transfers) {
  if (open_.contains(reservation.id) || ended_.contains(reservation.id)) return Applied::kBefore;
  TRY(post(transfers));
  open_.emplace(reservation.id, reservation);
  return Applied::kNow;
}

core::Result<Applied> Ledger::apply_one(const contract::UsageEvent& event,
                                        const Transfers& transfers) {
  if (ended_.contains(event.id)) return Applied::kBefore;
  const auto held = open_.find(event.id);
  const NanoMoney reserved = held == open_.end() ? NanoMoney{} : held->second.amount;
  if (event.reserved != reserved)
    return core::invalid("{}: settles {} nano-units, {} had been reserved", to_text(event.id),
                         event.reserved.nano, reserved.nano);
  if (held != open_.end() && held->second.tenant != event.tenant)
    return core::invalid("{}: of tenant '{}', its reservation is of '{}'", to_text(event.id),
                         event.tenant, held->second.tenant);
  TRY(post(transfers));
  if (held != open_.end()) open_.erase(held);
  ended_.insert(event.id);
  return Applied::kNow;
}

core::Result<Applied> Ledger::apply_one(const contract::BalanceChange& change,
                                        const Transfers& transfers) {
  if (balance_changes_.contains(change.id)) return Applied::kBefore;
  TRY(post(transfers));
  balance_changes_.insert(change.id);
  return Applied::kNow;
}

core::Result<Applied> Ledger::apply_one(const contract::ChangeRecord& /*change*/,
                                        const Transfers& /*none*/) {
  return Applied::kNow;
}

// All transfers or none.
core::Result<void> Ledger::post(const Transfers& transfers) {
  std::map<Account, __int128> after;
  const auto balance_after = [&](const Account& account) -> __int128& {
    return after.try_emplace(account, balance(account).nano).first->second;
  };
  for (const Transfer& transfer : transfers) {
    balance_after(transfer.from) -= transfer.amount.nano;
    balance_after(transfer.to) += transfer.amount.nano;
  }
  for (const auto& [account, nano] : after)
    if (nano < std::numeric_limits<int64_t>::min() || nano > std::numeric_limits<int64_t>::max())
      return core::invalid("{}: a balance of {} nano-units is over 2^63", to_text(account), nano);
  for (const auto& [account, nano] : after) {
    if (nano == 0) {
      balances_.erase(account);
    } else {
      balances_[account] = {static_cast<int64_t>(nano)};
    }
  }
  return {};
}

contract::UsageEvent lost_event(const contract::Reservation& reservation, int64_t unix_ns) {
  contract::UsageEvent event;
  event.id = reservation.id;
  event.outcome = contract::Outcome::kGatewayLost;
  event.target_met = false;
  event.status = 0;
  event.tenant = reservation.tenant;
  event.key = reservation.key;
  event.model = reservation.model;
  event.started_unix_ns = reservation.started_unix_ns;
  event.total_ns = std::max<int64_t>(0, unix_ns - reservation.started_unix_ns);
  event.reserved = reservation.amount;
  return event;
}

std::vector<std::string> prove(const Books& books, const Ledger& recomputed) {
  std::vector<std::string> faults;
  check_sums(books, &faults);
  compare_balances(books, recomputed, &faults);
  compare_open(books, recomputed, &faults);
  return faults;
}

std::vector<RequestId> unswept(const Books& books, uint64_t gateway, uint64_t start) {
  std::vector<RequestId> out;
  std::copy_if(
      books.open_reservations.begin(), books.open_reservations.end(), std::back_inserter(out),
      [&](RequestId id) { return id.gateway == gateway && contract::start_of(id) < start; });
  return out;
}

}  // namespace sluice::ledger
