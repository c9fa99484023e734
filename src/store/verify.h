// The proof that the store is what its events say: `sluice usage verify`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "store/database.h"

namespace sluice::store {

struct Verification {
  int64_t events = 0;
  int64_t lines = 0;
  int64_t transfers = 0;
  int64_t balance_changes = 0;
  int64_t open_reservations = 0;
  int64_t accounts = 0;
  int64_t days = 0;               // rows of usage by day, key and model
  int64_t amounts_unchecked = 0;  // of lines whose price version the history does not have
  int64_t faults = 0;
  std::vector<std::string> first_faults;  // at most kFaultsShown, one line each
  static constexpr int64_t kFaultsShown = 20;
};

// Recomputes, in one view of the database and with memory for its accounts, days and prices alone:
// - from the events, open reservations and balance changes, by the ledger's rules: each balance,
//   and number and sum of the transfers of each kind between each two accounts; all balances
//   together are 0;
// - reserved accounts: what is open for each tenant;
// - each line's amounts from its quantity and the price of its version, where the history has it;
// - each row of usage by day, key and model.
core::Result<Verification> verify(Database* database);

// The part of it that takes no longer than there are accounts and open reservations, for a gateway
// that asks again and again: all balances together are 0, and what is reserved is what is open. One
// line for each fault.
core::Result<std::vector<std::string>> check_balances(Database* database);

}  // namespace sluice::store
