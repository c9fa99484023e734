// A RecordSink that keeps what it gets, or refuses.
#pragma once

#include <vector>

#include "contract/usage_event.h"

namespace sluice::gateway {

class MemoryRecords final : public contract::RecordSink {
 public:
  [[nodiscard]] bool append(const contract::Reservation& r) override {
    return keep(&reservations, r);
  }
  [[nodiscard]] bool append(const contract::UsageEvent& e) override { return keep(&events, e); }
  [[nodiscard]] bool append(const contract::ChangeRecord& c) override { return keep(&changes, c); }
  [[nodiscard]] bool append(const contract::BalanceChange& b) override {
    return keep(&balances, b);
  }

  bool full = false;
  std::vector<contract::Reservation> reservations;
  std::vector<contract::UsageEvent> events;
  std::vector<contract::ChangeRecord> changes;
  std::vector<contract::BalanceChange> balances;

 private:
  template <typename T>
  bool keep(std::vector<T>* list, const T& record) {
    if (!full) list->push_back(record);
    return !full;
  }
};

}  // namespace sluice::gateway
