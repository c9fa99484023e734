// What the path of a request calls: reserve in every limit that holds for it or in none, then
// settle or give back. Atomic words behind resolved pointers: no lock, no look-up, no allocation
// except for a refusal. From any thread.
//
//   auto reserved = reserve({key_limits, model_limits}, demand);      // Result<…, LimitRefusal>
//   if (!reserved.ok()) → 429 with reserved.error()
//   …
//   reserved->outgrow(output_tokens_so_far);                          // while it streams
//   reserved->settle({.input_tokens = …, .output_tokens = …, .money = …});
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "contract/money.h"
#include "core/clock.h"
#include "core/result.h"
#include "gateway/limits/limit.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {

struct LimitState;  // gateway/limits/limit_state.h

// What a request may come to. The tokens of all its choices (n) together.
struct Demand {
  int64_t input_tokens = 0;            // counted, or PromptEstimate's bound
  int64_t output_tokens_likely = 0;    // reserved per minute: min(max, p95 of past outputs)
  int64_t output_tokens_max = 0;       // reserved in calendar quotas; ≥ output_tokens_likely
  contract::NanoMoney money_max = {};  // reserved in money limits and the balance
};

// What it came to.
struct Usage {
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;  // reasoning included
  contract::NanoMoney money = {};
};

// Why not. The limit named is the one that holds the request back for longest.
struct LimitRefusal {
  enum class Kind : uint8_t {
    kRateLimitExceeded,  // 429 rate_limit_exceeded: a later attempt can pass
    kInsufficientQuota,  // 429 insufficient_quota: calendar quotas and the balance
    kNotKnownYet,        // 503: nobody has said yet what was used, or what the balance is
  };
  Kind kind = Kind::kRateLimitExceeded;
  LimitObject object = LimitObject::kKey;
  Dimension dimension = Dimension::kRequestsPerMinute;
  std::string object_id = {};
  int64_t limit = 0;      // of the dimension's unit; kBalance: what is left
  int64_t requested = 0;  // by this request
  // The same request passes after this time and not before, if no other comes between. nullopt:
  // no time helps (the request is larger than the limit, the balance is used up), or none can be
  // known (concurrent streams).
  std::optional<int64_t> retry_after_ns = {};
  std::string message = {};  // for the client: names the limit, no other tenant's numbers
};

// One of x-ratelimit-{limit,remaining,reset}-…: of the limit with the least left.
struct RateLimitState {
  int64_t limit = 0;  // per minute
  int64_t remaining = 0;
  int64_t reset_ns = 0;  // until all is there again
};
struct RateLimitHeaders {
  std::optional<RateLimitState> requests;  // nullopt: no such limit
  std::optional<RateLimitState> tokens;    // total, input or output tokens
};

// The limits of a key (with its project and tenant) or of a model, resolved. LimitTable makes them;
// immutable; what they point to lives as long as they do and follows later snapshots' numbers.
class LimitSet {
 public:
  LimitSet(const core::Clock& clock, std::vector<std::shared_ptr<LimitState>> states);

  const std::vector<std::shared_ptr<LimitState>>& states() const { return states_; }
  const core::Clock& clock() const { return clock_; }
  bool has_calendar_limit() const { return has_calendar_limit_; }

 private:
  const core::Clock& clock_;
  std::vector<std::shared_ptr<LimitState>> states_;
  bool has_calendar_limit_ = false;
};

// Both hold; neither is null. One clock.
struct LimitSets {
  static constexpr int kLimitsMax = 37;  // 9 of each of four objects, and the balance

  std::shared_ptr<const LimitSet> key;
  std::shared_ptr<const LimitSet> model;
};

// What a request took from one limit. Not initialised: a reservation has room for many.
struct LimitTaken {
  int64_t cost;
  uint64_t start;  // of limits per minute: RatePlace's
  int64_t at;      // of limits per minute: what had flowed; of calendar limits: the period

  RatePlace place() const { return {.cost = cost, .start = start, .flowed = at}; }
};

// Of a limit that began while the request ran.
struct JoinedLimit {
  std::shared_ptr<LimitState> state;
  LimitTaken taken;
};

// What one request holds. Settled or given back exactly once: the destructor gives back what is
// still held. Move-only; owned by one thread at a time.
class LimitReservation {
 public:
  LimitReservation() = default;  // holds nothing
  LimitReservation(LimitReservation&& other) noexcept { *this = std::move(other); }
  LimitReservation& operator=(LimitReservation&& other) noexcept;
  ~LimitReservation() { refund(); }

  bool held() const { return sets_.key != nullptr; }

  // The output so far: what is beyond the tokens reserved per minute is booked at once as debt.
  // Costs one comparison as long as there is none.
  void outgrow(int64_t output_tokens) {
    if (output_tokens > output_tokens_booked_) book_output(output_tokens);
  }
  // `now` holds from here on. The limits in it that were not there when this was reserved, at
  // `reserved_unix_ns`, count it too, whether it fits or not. True: the records have still to say
  // what else was used of one that it has joined, now or before, and must leave this request out.
  bool join(const LimitSets& now, const Demand& demand, int64_t reserved_unix_ns);
  // The end of a request that was sent: what it did not need goes back, what it needed beyond the
  // reservation is booked. The request itself stays counted, its stream is over.
  void settle(const Usage& usage);
  // The end of one that was never sent: everything goes back.
  void refund();

 private:
  friend core::Result<LimitReservation, LimitRefusal> reserve(const LimitSets& sets,
                                                              const Demand& demand);
  void book_output(int64_t output_tokens);
  bool holds(const LimitState& state) const;
  // Calls visit(state, taken) for each.
  template <typename Visit>
  void for_each_taken(Visit visit);
  void let_go();

  LimitSets sets_;
  int64_t output_tokens_reserved_ = 0;
  int64_t output_tokens_booked_ = 0;  // with what it outgrew
  int taken_count_ = 0;  // of the first so many limits: the key's set, then the model's
  std::array<LimitTaken, LimitSets::kLimitsMax> taken_;  // the first taken_count_ are written
  std::vector<JoinedLimit> joined_;
};

core::Result<LimitReservation, LimitRefusal> reserve(const LimitSets& sets, const Demand& demand);

// Would it pass now? Reads only. Where reserve() refused an estimated prompt: ask with the
// estimate's least; yes means that the estimate decided, so count the prompt and reserve again.
bool would_pass(const LimitSets& sets, const Demand& demand);

// As things stand now; for the headers of answers and of refusals alike.
RateLimitHeaders rate_limit_headers(const LimitSets& sets);

// "12ms", "6m0s", "1h0m0.5s": how OpenAI writes x-ratelimit-reset-*. Rounded up to milliseconds.
std::string duration_text(int64_t ns);

}  // namespace sluice::gateway
