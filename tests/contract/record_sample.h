// Records with every field set to something, at random.
#pragma once

#include <string>

#include "contract/record_codec.h"
#include "core/rng.h"

namespace sluice::contract {

class RecordSample {
 public:
  explicit RecordSample(uint64_t seed) : random_(seed) {}

  Record record() {
    switch (random_.below(4)) {
      case 0:
        return reservation();
      case 1:
        return change();
      case 2:
        return balance_change();
      default:
        return event();
    }
  }

  Reservation reservation() {
    return {.id = {random_.bits(), random_.bits()},
            .tenant = text(),
            .key = text(),
            .model = text(),
            .started_unix_ns = integer(),
            .amount = {integer()},
            .tokens = integer()};
  }

  UsageEvent event() {
    UsageEvent out;
    out.id = {random_.bits(), random_.bits()};
    out.parent = {random_.bits(), random_.bits()};
    out.kind = static_cast<EventKind>(random_.below(3));
    out.outcome = static_cast<Outcome>(random_.below(kOutcomes));
    out.decision = static_cast<ValveDecision>(random_.below(9));
    out.target_met = random_.below(2) == 1;
    out.status = static_cast<int16_t>(integer());
    out.tenant = text();
    out.project = text();
    out.key = text();
    out.model = text();
    out.model_digest = text();
    out.finish_reason = text();
    out.started_unix_ns = integer();
    out.ttft_ns = integer();
    out.tpot_ns = integer();
    out.total_ns = integer();
    out.reserved = {integer()};
    for (int64_t i = random_.below(6); i > 0; --i) out.lines.push_back(line());
    return out;
  }

  ChangeRecord change() {
    return {.actor = text(),
            .action = text(),
            .object = text(),
            .hash_before = text(),
            .hash_after = text(),
            .generation = integer(),
            .unix_ns = integer()};
  }

  BalanceChange balance_change() {
    return {.id = text(),
            .tenant = text(),
            .kind = static_cast<BalanceChange::Kind>(random_.below(2)),
            .amount = {integer()},
            .actor = text(),
            .reason = text(),
            .unix_ns = integer()};
  }

 private:
  UsageLine line() {
    return {.replica = text(),
            .pool = text(),
            .owner = text(),
            .unit = static_cast<Unit>(random_.below(kUnits)),
            .side = static_cast<LineSide>(random_.below(3)),
            .quantity = integer(),
            .sale_version = integer(),
            .cost_version = integer(),
            .amount = {integer()},
            .cost = {integer()}};
  }
  // Of any length in bits.
  int64_t integer() { return static_cast<int64_t>(random_.bits()) >> random_.below(64); }
  std::string text() {
    std::string out(static_cast<size_t>(random_.below(40)), '\0');
    for (char& c : out) c = static_cast<char>(random_.bits());
    return out;
  }

  core::Rng random_;
};

}  // namespace sluice::contract
