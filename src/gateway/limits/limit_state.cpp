#include "gateway/limits/limit_state.h"

#include <algorithm>
#include <array>

namespace sluice::gateway {
namespace {

int64_t tokens(int64_t count) {
  return std::clamp<int64_t>(count, 0, kTokensMax);
}
int64_t nano(contract::NanoMoney money) {
  return std::clamp<int64_t>(money.nano, 0, kAmountMax);
}

struct CostRow {
  int64_t (*reserved)(const Demand&);
  int64_t (*used)(const Usage&);
};

int64_t one_request(const Demand&) {
  return 1;
}
int64_t one_request_used(const Usage&) {
  return 1;
}
int64_t no_stream(const Usage&) {
  return 0;
}
int64_t input(const Demand& demand) {
  return tokens(demand.input_tokens);
}
int64_t input_used(const Usage& usage) {
  return tokens(usage.input_tokens);
}
int64_t output_likely(const Demand& demand) {
  return tokens(demand.output_tokens_likely);
}
int64_t output_used(const Usage& usage) {
  return tokens(usage.output_tokens);
}
int64_t all_likely(const Demand& demand) {
  return input(demand) + output_likely(demand);
}
int64_t all_at_most(const Demand& demand) {
  return input(demand) + tokens(demand.output_tokens_max);
}
int64_t all_used(const Usage& usage) {
  return input_used(usage) + output_used(usage);
}
int64_t money(const Demand& demand) {
  return nano(demand.money_max);
}
int64_t money_used(const Usage& usage) {
  return nano(usage.money);
}

constexpr std::array<CostRow, kDimensions> kCosts = {{
    {one_request, one_request_used},
    {input, input_used},
    {output_likely, output_used},
    {all_likely, all_used},
    {one_request, no_stream},
    {all_at_most, all_used},
    {all_at_most, all_used},
    {money, money_used},
    {money, money_used},
    {money, money_used},
}};

int64_t period_in(const LimitState& state, const Instant& instant) {
  return instant.periods[static_cast<size_t>(*calendar_of(state.name.dimension))];
}

LimitAnswer ask_calendar(const LimitState& state, int64_t cost, const Instant& instant) {
  const auto& word = std::get<CalendarWord<>>(state.word);
  const int64_t period = period_in(state, instant);
  if (word.fits(cost, period)) return {};
  if (!word.known()) return {.kind = LimitAnswer::Kind::kNotKnown};
  if (cost > word.limit()) return {.kind = LimitAnswer::Kind::kNever};
  const PeriodKind kind = *calendar_of(state.name.dimension);
  return {.kind = LimitAnswer::Kind::kWait,
          .wait_ns = period_start_unix_ns(kind, period + 1) - instant.unix_ns};
}

LimitAnswer ask_rate(const RateWord<>& word, int64_t cost, const Instant& instant) {
  const RateAttempt attempt = word.ask(cost, instant.now_ns);
  if (attempt.answer == RateAnswer::kTaken) return {};
  if (attempt.answer == RateAnswer::kNever || attempt.retry_at_ns == Flow::kNeverNs) {
    return {.kind = LimitAnswer::Kind::kNever};
  }
  return {.kind = LimitAnswer::Kind::kWait, .wait_ns = attempt.retry_at_ns - instant.now_ns};
}

}  // namespace

std::optional<PeriodKind> calendar_of(Dimension dimension) {
  switch (dimension) {
    case Dimension::kTokensPerDay:
    case Dimension::kMoneyPerDay:
      return PeriodKind::kDay;
    case Dimension::kTokensPerMonth:
    case Dimension::kMoneyPerMonth:
      return PeriodKind::kMonth;
    default:
      return std::nullopt;
  }
}

Instant instant_of(const LimitSets& sets) {
  Instant instant = {.now_ns = sets.key->clock().now_ns()};
  if (sets.key->has_calendar_limit() || sets.model->has_calendar_limit()) {
    instant.unix_ns = sets.key->clock().unix_ns();
    for (const PeriodKind kind : {PeriodKind::kDay, PeriodKind::kMonth}) {
      instant.periods[static_cast<size_t>(kind)] = period_of(kind, instant.unix_ns);
    }
  }
  return instant;
}

int64_t cost_of(Dimension dimension, const Demand& demand) {
  return kCosts[static_cast<size_t>(dimension)].reserved(demand);
}
int64_t cost_of(Dimension dimension, const Usage& usage) {
  return kCosts[static_cast<size_t>(dimension)].used(usage);
}

bool counts_output_per_minute(Dimension dimension) {
  return dimension == Dimension::kOutputTokensPerMinute || dimension == Dimension::kTokensPerMinute;
}

LimitAnswer ask(const LimitState& state, int64_t cost, const Instant& instant) {
  if (const auto* rate = std::get_if<RateWord<>>(&state.word)) {
    return ask_rate(*rate, cost, instant);
  }
  if (const auto* open = std::get_if<OpenWord<>>(&state.word)) {
    if (open->open() < open->limit()) return {};
    return {.kind = open->limit() > 0 ? LimitAnswer::Kind::kUnknown : LimitAnswer::Kind::kNever};
  }
  if (const auto* balance = std::get_if<BalanceWord<>>(&state.word)) {
    if (balance->fits(cost)) return {};
    if (!balance->known()) return {.kind = LimitAnswer::Kind::kNotKnown};
    return {.kind = LimitAnswer::Kind::kNever};
  }
  return ask_calendar(state, cost, instant);
}

bool take(LimitState& state, int64_t cost, const Instant& instant, LimitTaken& taken) {
  if (auto* rate = std::get_if<RateWord<>>(&state.word)) {
    const RateAttempt attempt = rate->reserve(cost, instant.now_ns);
    taken = {.cost = cost, .start = attempt.place.start, .at = attempt.place.flowed};
    return attempt.answer == RateAnswer::kTaken;
  }
  taken = {.cost = cost, .start = 0, .at = 0};
  if (auto* open = std::get_if<OpenWord<>>(&state.word)) return open->reserve();
  if (auto* balance = std::get_if<BalanceWord<>>(&state.word)) return balance->reserve(cost);
  taken.at = period_in(state, instant);
  return std::get<CalendarWord<>>(state.word).reserve(cost, taken.at);
}

LimitTaken join(LimitState& state, const JoiningCost& cost, const Instant& instant) {
  if (auto* rate = std::get_if<RateWord<>>(&state.word)) {
    rate->book(cost.outgrown, instant.now_ns);
    const RatePlace place = rate->book(cost.reserved, instant.now_ns);
    return {.cost = place.cost, .start = place.start, .at = place.flowed};
  }
  LimitTaken taken = {.cost = cost.reserved, .start = 0, .at = 0};
  if (auto* open = std::get_if<OpenWord<>>(&state.word)) {
    open->add();
  } else if (auto* balance = std::get_if<BalanceWord<>>(&state.word)) {
    balance->add(-cost.reserved);
  } else {
    taken.at = period_of(*calendar_of(state.name.dimension), cost.reserved_unix_ns);
    std::get<CalendarWord<>>(state.word).add(cost.reserved, taken.at);
  }
  return taken;
}

bool is_known(const LimitState& state) {
  if (const auto* balance = std::get_if<BalanceWord<>>(&state.word)) return balance->known();
  const auto* calendar = std::get_if<CalendarWord<>>(&state.word);
  return calendar == nullptr || calendar->known();
}

void finish(LimitState& state, const LimitTaken& taken, const LimitEnd& end,
            const Instant& instant) {
  if (auto* rate = std::get_if<RateWord<>>(&state.word)) {
    if (end.used >= end.booked) {
      rate->book(end.used - end.booked, instant.now_ns);
      return;
    }
    const int64_t unused = std::min(end.booked - end.used, taken.cost);
    return rate->give_back(taken.place(), taken.cost - unused, instant.now_ns);
  }
  if (auto* open = std::get_if<OpenWord<>>(&state.word)) return open->release();
  const int64_t excess = end.used - end.booked;
  if (auto* balance = std::get_if<BalanceWord<>>(&state.word)) return balance->add(-excess);
  std::get<CalendarWord<>>(state.word).add(excess, taken.at);
}

int64_t limit_of(const LimitState& state) {
  if (const auto* rate = std::get_if<RateWord<>>(&state.word)) return rate->limit();
  if (const auto* open = std::get_if<OpenWord<>>(&state.word)) return open->limit();
  if (const auto* balance = std::get_if<BalanceWord<>>(&state.word)) return balance->left();
  return std::get<CalendarWord<>>(state.word).limit();
}

}  // namespace sluice::gateway
