// Limits, usage events and the ledger of a run: the product's own code on the virtual clock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "core/result.h"
#include "gateway/limits/limit_set.h"
#include "gateway/limits/limit_table.h"
#include "ledger/ledger.h"
#include "simulate/world.h"

namespace sluice::simulate {

class Books {
 public:
  explicit Books(const World& world);

  // Reserves in the limits and in the ledger. nullopt: held; else retry after so many nanoseconds.
  std::optional<int64_t> reserve(int64_t request);
  // Its usage event; nothing was computed for one that was refused. What it costs the platform.
  core::Result<contract::NanoMoney> settle(int64_t request, contract::Outcome outcome);
  // Proves that nothing is left reserved and that all accounts sum to zero.
  core::Result<void> prove() const;

  contract::NanoMoney owed() const;    // to the owners of pools
  contract::NanoMoney billed() const;  // to tenants

 private:
  contract::NanoMoney money_max(const Request& request) const;

  const World& world_;
  gateway::LimitTable limits_;
  gateway::LimitSets sets_;
  ledger::Ledger ledger_;
  struct Held {
    gateway::LimitReservation limits;
    contract::NanoMoney amount;
  };
  std::map<int64_t, Held> held_;
};

}  // namespace sluice::simulate
