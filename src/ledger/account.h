// Accounts and transfers. Every transfer is from one account to another, so the sum over all
// accounts is zero by its form (docs/gateway.md has the table).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "contract/money.h"
#include "contract/record_codec.h"
#include "core/result.h"

namespace sluice::ledger {

enum class AccountKind : uint8_t {
  kTenant,    // what it may still spend
  kReserved,  // of a tenant, for requests that are running
  kPlatform,
  kSupplier,  // an owner of pools
  kOutside,   // where money comes from
};

struct Account {
  AccountKind kind = AccountKind::kPlatform;
  std::string owner;  // the tenant's or supplier's id; "" of platform and outside
  auto operator<=>(const Account&) const = default;
};

// "tenant/acme", "reserved/acme", "platform", "supplier/gpu-co", "outside".
std::string to_text(const Account& account);
core::Result<Account> parse_account(std::string_view text);

enum class TransferKind : uint8_t {
  kTopUp,
  kAdjustment,
  kReservation,
  kSettlement,
  kRefund,
  kExcess,
  kSupply,
};
std::string_view to_text(TransferKind kind);

struct Transfer {
  TransferKind kind = TransferKind::kReservation;
  Account from;
  Account to;
  contract::NanoMoney amount;  // more than 0
  bool operator==(const Transfer&) const = default;
};

// In the order in which no account is overdrawn on the way that is not at the end. kInvalid: a
// negative amount where none may be, a sum over 2^63.
core::Result<std::vector<Transfer>> transfers_of(const contract::Record& record);

}  // namespace sluice::ledger
