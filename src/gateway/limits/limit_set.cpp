#include "gateway/limits/limit_set.h"

#include <algorithm>

#include "gateway/limits/limit_state.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kAskAgainNs = 1'000'000'000;  // for what is not known yet

int limits_in(const LimitSets& sets) {
  return static_cast<int>(sets.key->states().size() + sets.model->states().size());
}

const std::shared_ptr<LimitState>& shared_state_at(const LimitSets& sets, int index) {
  const auto& of_key = sets.key->states();
  const auto place = static_cast<size_t>(index);
  return place < of_key.size() ? of_key[place] : sets.model->states()[place - of_key.size()];
}
LimitState& state_at(const LimitSets& sets, int index) {
  return *shared_state_at(sets, index);
}

bool is_quota(Dimension dimension) {
  return dimension == Dimension::kBalance || calendar_of(dimension).has_value();
}

// Longer waits are greater; unknown ones are the least, since any other says more.
int64_t weight_of(const LimitAnswer& answer) {
  switch (answer.kind) {
    case LimitAnswer::Kind::kFits:
      return -1;
    case LimitAnswer::Kind::kUnknown:
    case LimitAnswer::Kind::kNotKnown:
      return 0;
    case LimitAnswer::Kind::kWait:
      return std::max<int64_t>(1, answer.wait_ns);
    case LimitAnswer::Kind::kNever:
      return Flow::kNeverNs;
  }
  return -1;
}

std::string message_of(const LimitRefusal& refusal, const LimitState& state) {
  const std::string_view object = to_text(refusal.object);
  const std::string_view what = to_phrase(refusal.dimension);
  if (refusal.kind == LimitRefusal::Kind::kNotKnownYet) {
    return fmt::format("What {} {} has for {} is not known yet: {}. Try again in {}.", object,
                       refusal.object_id, what, to_phrase(state.awaited.load()),
                       duration_text(*refusal.retry_after_ns));
  }
  if (refusal.dimension == Dimension::kBalance) {
    return fmt::format("The prepaid balance of {} {} does not cover this request.", object,
                       refusal.object_id);
  }
  const std::string head =
      fmt::format("Limit reached for {} {} on {}: limit {}, this request {}.", object,
                  refusal.object_id, what, refusal.limit, refusal.requested);
  if (refusal.retry_after_ns.has_value()) {
    return fmt::format("{} Try again in {}.", head, duration_text(*refusal.retry_after_ns));
  }
  if (refusal.dimension == Dimension::kConcurrentStreams && refusal.limit > 0) {
    return fmt::format("{} Try again when another has ended.", head);
  }
  return fmt::format("{} It can never pass: ask for less.", head);
}

LimitRefusal::Kind kind_of(const LimitState& state, const LimitAnswer& answer) {
  if (answer.kind == LimitAnswer::Kind::kNotKnown) return LimitRefusal::Kind::kNotKnownYet;
  return is_quota(state.name.dimension) ? LimitRefusal::Kind::kInsufficientQuota
                                        : LimitRefusal::Kind::kRateLimitExceeded;
}

LimitRefusal refusal_of(const LimitState& state, int64_t cost, const LimitAnswer& answer) {
  LimitRefusal refusal = {.kind = kind_of(state, answer),
                          .object = state.name.object,
                          .dimension = state.name.dimension,
                          .object_id = state.name.id,
                          .limit = limit_of(state),
                          .requested = cost};
  if (answer.kind == LimitAnswer::Kind::kWait) refusal.retry_after_ns = answer.wait_ns;
  if (answer.kind == LimitAnswer::Kind::kNotKnown) refusal.retry_after_ns = kAskAgainNs;
  refusal.message = message_of(refusal, state);
  return refusal;
}

// Of all limits, the one that holds the request back for longest. `refused` has said no, even if
// it would say yes by now: then after the least wait there is.
LimitRefusal longest_refusal(const LimitSets& sets, const Demand& demand,
                             const LimitState& refused) {
  const Instant instant = instant_of(sets);
  const auto ask_one = [&](const LimitState& state) {
    return ask(state, cost_of(state.name.dimension, demand), instant);
  };
  const LimitState* longest = &refused;
  LimitAnswer answer = ask_one(refused);
  if (answer.kind == LimitAnswer::Kind::kFits) {
    answer = {.kind = LimitAnswer::Kind::kWait, .wait_ns = 1};
  }
  for (int i = 0; i < limits_in(sets); ++i) {
    const LimitState& state = state_at(sets, i);
    const LimitAnswer other = ask_one(state);
    if (weight_of(other) > weight_of(answer)) {
      longest = &state;
      answer = other;
    }
  }
  return refusal_of(*longest, cost_of(longest->name.dimension, demand), answer);
}

// Keeps the state with less left; of equals, the one that takes longer to come back.
void keep_tighter(std::optional<RateLimitState>& kept, const RateLevel& level) {
  if (!kept.has_value() || level.remaining < kept->remaining ||
      (level.remaining == kept->remaining && level.reset_ns > kept->reset_ns)) {
    kept = {.limit = level.limit, .remaining = level.remaining, .reset_ns = level.reset_ns};
  }
}

}  // namespace

LimitSet::LimitSet(const core::Clock& clock, std::vector<std::shared_ptr<LimitState>> states)
    : clock_(clock), states_(std::move(states)) {
  for (const auto& state : states_) {
    has_calendar_limit_ |= calendar_of(state->name.dimension).has_value();
  }
}

LimitReservation& LimitReservation::operator=(LimitReservation&& other) noexcept {
  if (this == &other) return *this;
  refund();
  sets_ = std::move(other.sets_);
  output_tokens_reserved_ = other.output_tokens_reserved_;
  output_tokens_booked_ = other.output_tokens_booked_;
  taken_count_ = other.taken_count_;
  std::copy_n(other.taken_.begin(), taken_count_, taken_.begin());
  joined_ = std::move(other.joined_);
  other.let_go();
  return *this;
}

void LimitReservation::let_go() {
  sets_ = {};
  taken_count_ = 0;
  joined_.clear();
}

template <typename Visit>
void LimitReservation::for_each_taken(Visit visit) {
  for (int i = 0; i < taken_count_; ++i) visit(state_at(sets_, i), taken_[static_cast<size_t>(i)]);
  for (const JoinedLimit& joined : joined_) visit(*joined.state, joined.taken);
}

bool LimitReservation::holds(const LimitState& state) const {
  for (int i = 0; i < taken_count_; ++i)
    if (&state_at(sets_, i) == &state) return true;
  return std::ranges::any_of(
      joined_, [&](const JoinedLimit& joined) { return joined.state.get() == &state; });
}

bool LimitReservation::join(const LimitSets& now, const Demand& demand, int64_t reserved_unix_ns) {
  if (!held()) return false;
  const Instant instant = instant_of(now);
  const int64_t outgrown = output_tokens_booked_ - output_tokens_reserved_;
  for (int i = 0; i < limits_in(now); ++i) {
    const std::shared_ptr<LimitState>& state = shared_state_at(now, i);
    if (holds(*state)) continue;
    const Dimension dimension = state->name.dimension;
    const JoiningCost cost = {.reserved = cost_of(dimension, demand),
                              .outgrown = counts_output_per_minute(dimension) ? outgrown : 0,
                              .reserved_unix_ns = reserved_unix_ns};
    joined_.push_back({state, gateway::join(*state, cost, instant)});
  }
  // Also one joined early: the table's limits may be ahead of the snapshot that brought the call.
  return std::ranges::any_of(joined_,
                             [](const JoinedLimit& joined) { return !is_known(*joined.state); });
}

void LimitReservation::book_output(int64_t output_tokens) {
  const int64_t more = std::min(output_tokens, kTokensMax) - output_tokens_booked_;
  if (!held() || more <= 0) return;
  const Instant instant = instant_of(sets_);
  for_each_taken([&](LimitState& state, const LimitTaken&) {
    if (counts_output_per_minute(state.name.dimension))
      std::get<RateWord<>>(state.word).book(more, instant.now_ns);
  });
  output_tokens_booked_ += more;
}

void LimitReservation::settle(const Usage& usage) {
  if (!held()) return;
  const Instant instant = instant_of(sets_);
  const int64_t outgrown = output_tokens_booked_ - output_tokens_reserved_;
  for_each_taken([&](LimitState& state, const LimitTaken& taken) {
    const bool outgrew = counts_output_per_minute(state.name.dimension);
    finish(state, taken,
           {.booked = taken.cost + (outgrew ? outgrown : 0),
            .used = cost_of(state.name.dimension, usage)},
           instant);
  });
  let_go();
}

void LimitReservation::refund() {
  if (!held()) return;
  const Instant instant = instant_of(sets_);
  for_each_taken([&](LimitState& state, const LimitTaken& taken) {
    finish(state, taken, {.booked = taken.cost, .used = 0}, instant);
  });
  let_go();
}

core::Result<LimitReservation, LimitRefusal> reserve(const LimitSets& sets, const Demand& demand) {
  ASSERT(sets.key != nullptr && sets.model != nullptr, "a set is missing");
  ASSERT(limits_in(sets) <= LimitSets::kLimitsMax, "{} limits, at most {}", limits_in(sets),
         LimitSets::kLimitsMax);
  const Instant instant = instant_of(sets);
  LimitReservation reservation;
  reservation.sets_ = sets;
  reservation.output_tokens_reserved_ = cost_of(Dimension::kOutputTokensPerMinute, demand);
  reservation.output_tokens_booked_ = reservation.output_tokens_reserved_;
  for (int i = 0; i < limits_in(sets); ++i) {
    LimitState& state = state_at(sets, i);
    if (!take(state, cost_of(state.name.dimension, demand), instant,
              reservation.taken_[static_cast<size_t>(i)])) {
      reservation.refund();
      return longest_refusal(sets, demand, state);
    }
    reservation.taken_count_ = i + 1;
  }
  return reservation;
}

bool would_pass(const LimitSets& sets, const Demand& demand) {
  const Instant instant = instant_of(sets);
  for (int i = 0; i < limits_in(sets); ++i) {
    const LimitState& state = state_at(sets, i);
    if (ask(state, cost_of(state.name.dimension, demand), instant).kind !=
        LimitAnswer::Kind::kFits) {
      return false;
    }
  }
  return true;
}

RateLimitHeaders rate_limit_headers(const LimitSets& sets) {
  const Instant instant = instant_of(sets);
  RateLimitHeaders headers;
  for (int i = 0; i < limits_in(sets); ++i) {
    const LimitState& state = state_at(sets, i);
    const auto* rate = std::get_if<RateWord<>>(&state.word);
    if (rate == nullptr) continue;
    const bool of_requests = state.name.dimension == Dimension::kRequestsPerMinute;
    keep_tighter(of_requests ? headers.requests : headers.tokens, rate->level(instant.now_ns));
  }
  return headers;
}

std::string duration_text(int64_t ns) {
  constexpr int64_t kMs = 1'000'000;
  const int64_t ms = ns / kMs + (ns % kMs > 0 ? 1 : 0);
  if (ms < 1000) return fmt::format("{}ms", std::max<int64_t>(ms, 0));
  std::string seconds = fmt::format("{}", ms / 1000 % 60);
  if (const int64_t fraction = ms % 1000; fraction > 0) {
    seconds += fmt::format(".{:03}", fraction);
    seconds.erase(seconds.find_last_not_of('0') + 1);
  }
  const int64_t minutes = ms / 60'000;
  if (minutes == 0) return fmt::format("{}s", seconds);
  if (minutes < 60) return fmt::format("{}m{}s", minutes, seconds);
  return fmt::format("{}h{}m{}s", minutes / 60, minutes % 60, seconds);
}

}  // namespace sluice::gateway
