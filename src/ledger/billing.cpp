#include "ledger/billing.h"

#include <algorithm>
#include <iterator>

#include "core/assert.h"

namespace sluice::ledger {
namespace {

using contract::LineSide;
using contract::NanoMoney;
using contract::Outcome;
using contract::Price;
using contract::PriceSide;
using contract::Unit;
using contract::UsageLine;

// ---- the rules ------------------------------------------------------------------------------

// nullopt: any. The first row that matches holds; docs/billing.md is this table.
struct Row {
  std::optional<AttemptEnd> end;
  std::optional<Outcome> outcome;
  std::optional<AttemptStart> start;
  std::optional<Known> known;
  Charge charge;
};

constexpr auto kAny = std::nullopt;
constexpr Charge kFree = {Basis::kNothing, Basis::kNothing};

constexpr Row kRules[] = {
    // Whoever failed a request before its first byte is paid only what it can show.
    {AttemptEnd::kRetried, kAny, kAny, Known::kUsage, {Basis::kNothing, Basis::kUsage}},
    {AttemptEnd::kRetried, kAny, kAny, kAny, kFree},

    // Nothing was computed, or nobody knows.
    {AttemptEnd::kWithRequest, Outcome::kRefused, kAny, kAny, kFree},
    {AttemptEnd::kWithRequest, Outcome::kGatewayLost, kAny, kAny, kFree},
    {AttemptEnd::kWithRequest, Outcome::kUpstreamError, kAny, kAny, kFree},

    {AttemptEnd::kWithRequest,
     Outcome::kClientAbortBeforeFirstToken,
     kAny,
     Known::kUsage,
     {Basis::kNothing, Basis::kUsage}},
    {AttemptEnd::kWithRequest,
     Outcome::kClientAbortBeforeFirstToken,
     kAny,
     kAny,
     {Basis::kNothing, Basis::kCountedPrompt}},

    // A whole answer without tokens: an embedding.
    {AttemptEnd::kWithRequest,
     Outcome::kCompleteUsageMissing,
     AttemptStart::kFresh,
     Known::kNoToken,
     {Basis::kCounted, Basis::kCounted}},

    // A whole answer, or as much of it as reached the client.
    {kAny, kAny, AttemptStart::kFresh, Known::kUsage, {Basis::kUsage, Basis::kUsage}},
    {kAny, kAny, AttemptStart::kFresh, Known::kTokens, {Basis::kCounted, Basis::kCounted}},
    // The prompt, and the tokens that another replica sent, have been charged with that replica.
    {kAny, kAny, AttemptStart::kResumed, Known::kUsage, {Basis::kCountedOutput, Basis::kUsage}},
    {kAny, kAny, AttemptStart::kResumed, Known::kTokens, {Basis::kCountedOutput, Basis::kCounted}},
    {kAny, kAny, kAny, Known::kNoToken, {Basis::kNothing, Basis::kCountedPrompt}},
};

template <typename T>
bool fits(const std::optional<T>& wanted, T value) {
  return !wanted || *wanted == value;
}

// ---- lines ----------------------------------------------------------------------------------

constexpr bool is_prompt(Unit unit) {
  return unit == Unit::kPromptToken || unit == Unit::kCachedPromptToken;
}
constexpr bool is_output(Unit unit) {
  return unit == Unit::kOutputToken || unit == Unit::kReasoningToken;
}

int64_t quantity_of(const Attempt& attempt, Basis basis, Unit unit) {
  const auto index = static_cast<size_t>(unit);
  switch (basis) {
    case Basis::kNothing:
      return 0;
    case Basis::kUsage:
      return (*attempt.usage)[index];
    case Basis::kCounted:
      return attempt.counted[index];
    case Basis::kCountedPrompt:
      return is_prompt(unit) ? attempt.counted[index] : 0;
    case Basis::kCountedOutput:
      return is_output(unit) ? attempt.counted[index] : 0;
  }
  ASSERT(false, "basis {}", static_cast<int>(basis));
}

NanoMoney amount(int64_t quantity, const Price* price, Unit unit) {
  return price == nullptr ? NanoMoney{}
                          : contract::amount_of(quantity, price->rates[static_cast<size_t>(unit)]);
}

UsageLine line_of(const Attempt& attempt, Unit unit, LineSide side, int64_t quantity) {
  const Price* sale = side == LineSide::kCostOnly ? nullptr : attempt.sale;
  const Price* cost = side == LineSide::kSaleOnly ? nullptr : attempt.cost;
  return {.replica = std::string(attempt.replica),
          .pool = std::string(attempt.pool),
          .owner = std::string(attempt.owner),
          .unit = unit,
          .side = side,
          .quantity = quantity,
          .sale_version = sale == nullptr ? 0 : sale->version,
          .cost_version = cost == nullptr ? 0 : cost->version,
          .amount = amount(quantity, sale, unit),
          .cost = amount(quantity, cost, unit)};
}

void add_lines(const Attempt& attempt, Charge charge, std::vector<UsageLine>* lines) {
  for (int i = 0; i < contract::kUnits; ++i) {
    const auto unit = static_cast<Unit>(i);
    const int64_t sold = quantity_of(attempt, charge.sale, unit);
    const int64_t owed = quantity_of(attempt, charge.cost, unit);
    if (sold == owed) {
      if (sold > 0) lines->push_back(line_of(attempt, unit, LineSide::kBoth, sold));
      continue;
    }
    if (sold > 0) lines->push_back(line_of(attempt, unit, LineSide::kSaleOnly, sold));
    if (owed > 0) lines->push_back(line_of(attempt, unit, LineSide::kCostOnly, owed));
  }
}

}  // namespace

const Price* price_of(std::span<const Price> prices, const PriceQuestion& question) {
  const Price* best = nullptr;
  const auto rank = [](const Price& price) {
    return (price.model.empty() ? 0 : 2) + (price.pool.empty() ? 0 : 1);
  };
  for (const Price& price : prices) {
    if (price.side != question.side || price.valid_from_unix_s > question.unix_s) continue;
    if (!price.model.empty() && price.model != question.model) continue;
    if (!price.pool.empty() && price.pool != question.pool) continue;
    if (best == nullptr || rank(price) > rank(*best) ||
        (rank(price) == rank(*best) && price.valid_from_unix_s >= best->valid_from_unix_s))
      best = &price;
  }
  return best;
}

Known known_of(const Attempt& attempt) {
  if (attempt.usage) return Known::kUsage;
  const int64_t tokens = attempt.counted[static_cast<size_t>(Unit::kOutputToken)] +
                         attempt.counted[static_cast<size_t>(Unit::kReasoningToken)];
  return tokens > 0 ? Known::kTokens : Known::kNoToken;
}

Charge charge_of(Outcome outcome, AttemptEnd end, AttemptStart start, Known known) {
  const auto* row = std::find_if(std::begin(kRules), std::end(kRules), [&](const Row& each) {
    return fits(each.end, end) && fits(each.outcome, outcome) && fits(each.start, start) &&
           fits(each.known, known);
  });
  ASSERT(row != std::end(kRules), "no rule for outcome {}", to_text(outcome));
  return row->charge;
}

std::vector<UsageLine> lines_of(Outcome outcome, std::span<const Attempt> attempts) {
  std::vector<UsageLine> lines;
  lines.reserve(2 * attempts.size());  // prompt and output, mostly
  for (const Attempt& attempt : attempts)
    add_lines(attempt, charge_of(outcome, attempt.end, attempt.start, known_of(attempt)), &lines);
  return lines;
}

NanoMoney total_amount(std::span<const UsageLine> lines) {
  NanoMoney total;
  for (const UsageLine& line : lines) total = total + line.amount;
  return total;
}

}  // namespace sluice::ledger
