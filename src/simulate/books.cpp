#include "simulate/books.h"

#include <algorithm>

#include "ledger/account.h"
#include "ledger/billing.h"

namespace sluice::simulate {
namespace {

using contract::PriceSide;
using contract::Unit;

contract::RequestId id_of(int64_t request) {
  return {1, static_cast<uint64_t>(request) + 1};
}

}  // namespace

Books::Books(const World& world) : world_(world), limits_(world.clock) {
  const contract::Snapshot& snapshot = world.directory->snapshot();
  limits_.apply({world.directory, &snapshot});
  sets_ = {limits_.key_limits(snapshot.keys.front(), snapshot.projects.front()),
           limits_.model_limits(*world.model->model)};
}

// At the dearest of the places where it may go.
contract::NanoMoney Books::money_max(const Request& request) const {
  contract::NanoMoney most;
  for (const gateway::PoolEntry& pool : world_.directory->pools()) {
    const auto* price = world_.directory->price(*world_.model, pool, PriceSide::kSale,
                                                world_.clock.unix_ns() / 1'000'000'000);
    if (!price) continue;
    most = std::max(most,
                    contract::amount_of(request.prompt_tokens,
                                        price->rates[static_cast<size_t>(Unit::kPromptToken)]) +
                        contract::amount_of(request.output_tokens_max,
                                            price->rates[static_cast<size_t>(Unit::kOutputToken)]));
  }
  return most;
}

std::optional<int64_t> Books::reserve(int64_t index) {
  const Request& request = world_.requests[static_cast<size_t>(index)];
  const contract::NanoMoney amount = money_max(request);
  auto reserved = gateway::reserve(
      sets_, {request.prompt_tokens, request.output_tokens_max, request.output_tokens_max, amount});
  if (!reserved.ok()) return reserved.error().retry_after_ns.value_or(1'000'000'000);
  contract::Reservation record;
  record.id = id_of(index);
  record.tenant = world_.directory->snapshot().tenants.front().id;
  record.started_unix_ns = world_.clock.unix_ns();
  record.amount = amount;
  ASSERT(ledger_.apply(record).ok(), "request {} reserves twice", index);
  held_[index] = {std::move(reserved).value(), amount};
  return std::nullopt;
}

core::Result<contract::NanoMoney> Books::settle(int64_t index, contract::Outcome outcome) {
  const Request& request = world_.requests[static_cast<size_t>(index)];
  contract::UsageEvent event;
  event.id = id_of(index);
  event.outcome = outcome;
  event.tenant = world_.directory->snapshot().tenants.front().id;
  event.reserved = held_[index].amount;
  if (outcome == contract::Outcome::kComplete) {
    const gateway::ReplicaEntry& replica = world_.replica(request.replica);
    const int64_t unix_s = world_.clock.unix_ns() / 1'000'000'000;
    ledger::Quantities usage = {};
    usage[static_cast<size_t>(Unit::kPromptToken)] = request.prompt_tokens;
    usage[static_cast<size_t>(Unit::kOutputToken)] = request.output_tokens;
    ledger::Attempt attempt;
    attempt.replica = replica.replica->id;
    attempt.pool = replica.pool->pool->id;
    attempt.owner = replica.pool->pool->owner;
    attempt.sale = world_.directory->price(*world_.model, *replica.pool, PriceSide::kSale, unix_s);
    attempt.cost = world_.directory->price(*world_.model, *replica.pool, PriceSide::kCost, unix_s);
    attempt.usage = usage;
    event.lines = ledger::lines_of(outcome, {&attempt, 1});
  }
  contract::NanoMoney cost;
  for (const contract::UsageLine& line : event.lines) cost = cost + line.cost;
  if (event.lines.empty())
    held_[index].limits.refund();
  else
    held_[index].limits.settle(
        {request.prompt_tokens, request.output_tokens, ledger::total_amount(event.lines)});
  held_.erase(index);
  TRY(ledger_.apply(event));
  return cost;
}

core::Result<void> Books::prove() const {
  if (!ledger_.open_reservations().empty())
    return core::invalid("{} reservations are left", ledger_.open_reservations().size());
  const auto faults = ledger::prove({ledger_.balances(), {}}, ledger_);
  if (!faults.empty()) return core::invalid("{}", faults.front());
  return {};
}

contract::NanoMoney Books::owed() const {
  contract::NanoMoney sum;
  for (const auto& [account, balance] : ledger_.balances())
    if (account.kind == ledger::AccountKind::kSupplier) sum = sum + balance;
  return sum;
}

contract::NanoMoney Books::billed() const {
  contract::NanoMoney sum;
  for (const auto& [account, balance] : ledger_.balances())
    if (account.kind == ledger::AccountKind::kTenant) sum = sum - balance;
  return sum;
}

}  // namespace sluice::simulate
