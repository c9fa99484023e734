#include "ledger/account.h"

#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace sluice::ledger {
namespace {

using contract::NanoMoney;

struct KindName {
  AccountKind kind;
  std::string_view name;
  bool has_owner;
};
constexpr KindName kKindNames[] = {{AccountKind::kTenant, "tenant", true},
                                   {AccountKind::kReserved, "reserved", true},
                                   {AccountKind::kPlatform, "platform", false},
                                   {AccountKind::kSupplier, "supplier", true},
                                   {AccountKind::kOutside, "outside", false}};

Account tenant(const std::string& id) {
  return {AccountKind::kTenant, id};
}
Account reserved(const std::string& id) {
  return {AccountKind::kReserved, id};
}
Account platform() {
  return {AccountKind::kPlatform, ""};
}
Account outside() {
  return {AccountKind::kOutside, ""};
}

core::Result<NanoMoney> sum(NanoMoney a, NanoMoney b) {
  NanoMoney out;
  if (__builtin_add_overflow(a.nano, b.nano, &out.nano))
    return core::invalid("{} and {} nano-units of money are more than 2^63", a.nano, b.nano);
  return out;
}

// Leaves nothing where there is nothing to move.
void move(std::vector<Transfer>* transfers, Transfer transfer) {
  if (transfer.amount.nano > 0) transfers->push_back(std::move(transfer));
}

core::Result<std::vector<Transfer>> transfers_of(const contract::Reservation& reservation) {
  if (reservation.amount.nano < 0)
    return core::invalid("{}: a reservation of {} nano-units", to_text(reservation.id),
                         reservation.amount.nano);
  std::vector<Transfer> transfers;
  move(&transfers, {TransferKind::kReservation, tenant(reservation.tenant),
                    reserved(reservation.tenant), reservation.amount});
  return transfers;
}

core::Result<std::vector<Transfer>> transfers_of(const contract::UsageEvent& event) {
  if (event.reserved.nano < 0)
    return core::invalid("{}: a reservation of {} nano-units", to_text(event.id),
                         event.reserved.nano);
  NanoMoney amount;
  std::map<std::string, NanoMoney> owed;  // by owner
  for (const contract::UsageLine& line : event.lines) {
    if (line.amount.nano < 0 || line.cost.nano < 0)
      return core::invalid("{}: an amount below zero", to_text(event.id));
    amount = TRY(sum(amount, line.amount));
    if (!line.owner.empty()) owed[line.owner] = TRY(sum(owed[line.owner], line.cost));
  }
  std::vector<Transfer> transfers;
  const Account from = tenant(event.tenant);
  const Account held = reserved(event.tenant);
  move(&transfers, {TransferKind::kExcess, from, held, amount - event.reserved});
  move(&transfers, {TransferKind::kSettlement, held, platform(), amount});
  move(&transfers, {TransferKind::kRefund, held, from, event.reserved - amount});
  for (const auto& [owner, cost] : owed)
    move(&transfers, {TransferKind::kSupply, platform(), {AccountKind::kSupplier, owner}, cost});
  return transfers;
}

core::Result<std::vector<Transfer>> transfers_of(const contract::ChangeRecord& /*change*/) {
  return std::vector<Transfer>();
}

core::Result<std::vector<Transfer>> transfers_of(const contract::BalanceChange& change) {
  const bool top_up = change.kind == contract::BalanceChange::Kind::kTopUp;
  const int64_t nano = change.amount.nano;
  if (nano == INT64_MIN || (top_up && nano < 0))
    return core::invalid("balance change '{}': a top-up of {} nano-units", change.id, nano);
  std::vector<Transfer> transfers;
  if (top_up) {
    move(&transfers, {TransferKind::kTopUp, outside(), tenant(change.tenant), change.amount});
  } else {
    move(&transfers, {TransferKind::kAdjustment, platform(), tenant(change.tenant), {nano}});
    move(&transfers, {TransferKind::kAdjustment, tenant(change.tenant), platform(), {-nano}});
  }
  return transfers;
}

}  // namespace

std::string to_text(const Account& account) {
  const KindName& name = kKindNames[static_cast<size_t>(account.kind)];
  return name.has_owner ? fmt::format("{}/{}", name.name, account.owner) : std::string(name.name);
}

core::Result<Account> parse_account(std::string_view text) {
  for (const KindName& name : kKindNames) {
    if (!text.starts_with(name.name)) continue;
    const std::string_view rest = text.substr(name.name.size());
    if (name.has_owner && rest.starts_with('/') && rest.size() > 1)
      return Account{name.kind, std::string(rest.substr(1))};
    if (!name.has_owner && rest.empty()) return Account{name.kind, ""};
  }
  return core::invalid("'{}' is no account", text);
}

std::string_view to_text(TransferKind kind) {
  constexpr std::array<std::string_view, 7> kNames = {
      "top_up", "adjustment", "reservation", "settlement", "refund", "excess", "supply"};
  return kNames[static_cast<size_t>(kind)];
}

core::Result<std::vector<Transfer>> transfers_of(const contract::Record& record) {
  return std::visit([](const auto& each) { return transfers_of(each); }, record);
}

}  // namespace sluice::ledger
