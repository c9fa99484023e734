// Records as a gateway writes them, from a seed: requests begin, overlap, and end in every way.
#pragma once

#include <cstdint>
#include <vector>

#include "contract/record_codec.h"
#include "contract/snapshot.h"
#include "core/rng.h"

namespace sluice::store {

class RecordStream {
 public:
  struct Options {
    uint64_t seed = 1;
    uint64_t gateway = 0xa1;
    uint64_t start = 1;
    int64_t running_max = 200;  // requests at once
    int64_t days = 3;           // over which they begin
  };
  explicit RecordStream(const Options& options);

  // The next record: mostly reservations and events, sometimes a top-up or a change.
  contract::Record next();
  // Events of all that still run.
  std::vector<contract::Record> finish();

  // The price list that the lines keep to.
  const std::vector<contract::Price>& prices() const { return prices_; }

 private:
  contract::Reservation begin();
  contract::UsageEvent refusal();
  contract::UsageEvent end(const contract::Reservation& reservation);
  contract::UsageLine line(contract::Unit unit, int64_t replica);
  contract::BalanceChange balance_change();
  contract::ChangeRecord change();
  contract::RequestId next_id();

  const Options options_;
  core::Rng rng_;
  std::vector<contract::Price> prices_;
  std::vector<contract::Reservation> running_;
  uint64_t requests_ = 0;
  int64_t changes_ = 0;
};

}  // namespace sluice::store
