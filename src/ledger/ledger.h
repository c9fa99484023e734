// Balances from records, and the proof that somebody else's balances are the same.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "contract/record_codec.h"
#include "core/result.h"
#include "ledger/account.h"

namespace sluice::ledger {

// All zero balances left out.
using Balances = std::map<Account, contract::NanoMoney>;

enum class Applied : uint8_t {
  kNow,
  kBefore,  // its request has a reservation, an event, or its id a balance change: nothing done
};

class Ledger {
 public:
  // In the order of the journals. Idempotent by request id (reservation, event) and by the caller's
  // id (balance change). kInvalid changes nothing: an event that settles a reservation which is not
  // there or is of another amount, a balance over 2^63.
  core::Result<Applied> apply(const contract::Record& record);

  const Balances& balances() const { return balances_; }
  contract::NanoMoney balance(const Account& account) const;
  // Reservations without their event yet.
  const std::map<contract::RequestId, contract::Reservation>& open_reservations() const {
    return open_;
  }
  int64_t events() const { return static_cast<int64_t>(ended_.size()); }

 private:
  using Transfers = std::vector<Transfer>;

  core::Result<void> post(const Transfers& transfers);
  core::Result<Applied> apply_one(const contract::Reservation& reservation,
                                  const Transfers& transfers);
  core::Result<Applied> apply_one(const contract::UsageEvent& event, const Transfers& transfers);
  core::Result<Applied> apply_one(const contract::BalanceChange& change,
                                  const Transfers& transfers);
  core::Result<Applied> apply_one(const contract::ChangeRecord& change, const Transfers& transfers);

  Balances balances_;
  std::map<contract::RequestId, contract::Reservation> open_;
  std::set<contract::RequestId> ended_;
  std::set<std::string> balance_changes_;
};

// The event that ends a reservation whose gateway has died: kGatewayLost, no lines, all given back.
contract::UsageEvent lost_event(const contract::Reservation& reservation, int64_t unix_ns);

// What a store claims.
struct Books {
  Balances balances;
  std::vector<contract::RequestId> open_reservations;
};

// One line for each thing that does not hold; none: proven.
//   the sum over all accounts is zero; each balance is the one recomputed from the records; no
//   reserved account is below zero; each open reservation is open by the records too, and each
//   tenant's reserved account is the sum of its open reservations.
std::vector<std::string> prove(const Books& books, const Ledger& recomputed);

// The reservations that the sweep should have ended: of requests that this gateway began before
// its start `start`.
std::vector<contract::RequestId> unswept(const Books& books, uint64_t gateway, uint64_t start);

}  // namespace sluice::ledger
