// One limit of one object: its name and its word; and how a request's numbers become its costs.
// For gateway/limits/ alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <variant>

#include "gateway/limits/counter_words.h"
#include "gateway/limits/limit_set.h"
#include "gateway/limits/limit_table.h"
#include "gateway/limits/period.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {

// Foreign numbers of tokens (an upstream's usage) are held to this, which nothing honest comes
// near.
inline constexpr int64_t kTokensMax = int64_t{1} << 40;

struct LimitState {
  using Word = std::variant<RateWord<>, CalendarWord<>, OpenWord<>, BalanceWord<>>;

  template <typename Of, typename... Args>
  LimitState(LimitName named, std::in_place_type_t<Of> type, Args... args)
      : name(std::move(named)), word(type, args...) {}

  const LimitName name;
  Word word;
  std::atomic<Awaited> awaited = Awaited::kGateway;  // while it is not known
};

// What is `limit` of the calendar's dimensions counted in? nullopt: it is no calendar limit.
std::optional<PeriodKind> calendar_of(Dimension dimension);

// The time of one operation. The calendar's numbers only where a limit asks for them.
struct Instant {
  int64_t now_ns = 0;
  int64_t unix_ns = 0;
  std::array<int64_t, 2> periods = {};  // by PeriodKind
};
Instant instant_of(const LimitSets& sets);

// What the request reserves in this dimension, and what it came to.
int64_t cost_of(Dimension dimension, const Demand& demand);
int64_t cost_of(Dimension dimension, const Usage& usage);
// Per minute and of output: grows while the answer streams.
bool counts_output_per_minute(Dimension dimension);

// What one limit answers.
struct LimitAnswer {
  enum class Kind : uint8_t {
    kFits,
    kWait,      // fits after wait_ns
    kUnknown,   // fits when another stream ends
    kNotKnown,  // what was used, or is left, has not been read yet
    kNever,     // no time helps
  };
  Kind kind = Kind::kFits;
  int64_t wait_ns = 0;
};
// Without taking.
LimitAnswer ask(const LimitState& state, int64_t cost, const Instant& instant);

// Takes `cost`; false: it does not fit.
bool take(LimitState& state, int64_t cost, const Instant& instant, LimitTaken& taken);
// What a request that runs costs a limit that begins.
struct JoiningCost {
  int64_t reserved = 0;
  int64_t outgrown = 0;  // beyond that, so far; of limits per minute
  int64_t reserved_unix_ns = 0;
};
// The same of a limit that begins while the request runs: the cost is taken whether it fits or not.
// A limit per minute counts it as of now, a calendar limit when it was reserved.
LimitTaken join(LimitState& state, const JoiningCost& cost, const Instant& instant);
// False: what was used, or is left, has not been read yet.
bool is_known(const LimitState& state);
// The end of what was taken: `booked` so far, `used` in truth.
struct LimitEnd {
  int64_t booked = 0;
  int64_t used = 0;
};
void finish(LimitState& state, const LimitTaken& taken, const LimitEnd& end,
            const Instant& instant);

// The number of the limit: per minute, per period, streams, or what is left of the balance.
int64_t limit_of(const LimitState& state);

}  // namespace sluice::gateway
