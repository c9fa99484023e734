#include "gateway/edge/demand.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "gateway/edge/gateway.h"

namespace sluice::gateway {
namespace {

using contract::NanoMoney;

constexpr int64_t kOutputTokensUnknown = 4096;  // where neither request nor model says
constexpr int64_t kSecondNs = 1'000'000'000;
// Of prompt, and of output. What is asked for beyond it is taken for it: nobody computes so much,
// and a price times this fits (contract/validate.cpp).
constexpr int64_t kTokensMax = int64_t{1} << 30;

// What the pools of the model that answers take at most.
struct Amounts {
  NanoMoney most;
  NanoMoney least;
};

// Of those that take less than `bound`, if there is one. nullopt: none does.
std::optional<Amounts> amounts(const Exchange& exchange, const Demand& demand,
                               std::optional<NanoMoney> bound = std::nullopt) {
  std::optional<Amounts> found;
  const PoolEntry* pool = nullptr;
  for (const ReplicaEntry* replica : exchange.model->replicas) {
    if (std::exchange(pool, replica->pool) == replica->pool) continue;
    const contract::Price* price = exchange.table->directory().price(
        *exchange.model, *replica->pool, contract::PriceSide::kSale,
        exchange.arrived_unix_ns / kSecondNs);
    const NanoMoney here =
        amount_at_most(price, {.prompt_tokens = std::min(demand.input_tokens, kTokensMax),
                               .output_tokens = demand.output_tokens_max,
                               .compute_us = compute_us_max(exchange)});
    if (bound && here >= *bound) continue;
    const Amounts before = found.value_or(Amounts{here, here});
    found = {std::max(before.most, here), std::min(before.least, here)};
  }
  return found;
}

bool by_money(const LimitRefusal& refusal) {
  return refusal.dimension == Dimension::kMoneyPerDay ||
         refusal.dimension == Dimension::kMoneyPerMonth || refusal.dimension == Dimension::kBalance;
}

}  // namespace

int64_t output_tokens_max(const Exchange& exchange) {
  if (exchange.kind == contract::EventKind::kEmbedding) return 0;
  const int64_t context_tokens = exchange.table->context_tokens(*exchange.model);
  const int64_t wanted = exchange.model->model->max_tokens_default;
  int64_t each =
      exchange.asked.output_tokens_max.value_or(wanted > 0           ? wanted
                                                : context_tokens > 0 ? context_tokens
                                                                     : kOutputTokensUnknown);
  if (context_tokens > 0) each = std::min(each, context_tokens);
  const int64_t answers = exchange.asked.choices * exchange.asked.prompts;
  return each > kTokensMax / answers ? kTokensMax : each * answers;
}

int64_t compute_us_max(const Exchange& exchange) {
  return exchange.gateway.options().edge.request_max_ns / 1000;
}

PromptSize prompt_size(const Exchange& exchange) {
  return {.text_bytes = exchange.asked.text_bytes,
          .messages = std::max(exchange.asked.messages, exchange.asked.prompts)};
}

TokenRange prompt_range(const Exchange& exchange) {
  if (exchange.prompt_tokens) return {*exchange.prompt_tokens, *exchange.prompt_tokens};
  return exchange.gateway.prompt_estimate(*exchange.model).range(prompt_size(exchange));
}

bool estimate_decides(const Exchange& exchange, const TokenRange& range) {
  if (range.least == range.most || exchange.count_failed) return false;
  Demand least = exchange.demand;
  least.input_tokens = range.least;
  least.money_max = amounts(exchange, least).value_or(Amounts{}).least;
  return would_pass(exchange.limit_sets, least);
}

bool learnt_bound_decides(const Exchange& exchange, const TokenRange& range) {
  const int64_t most_possible = PromptEstimate::most_possible(prompt_size(exchange));
  if (exchange.prompt_tokens || exchange.count_failed || range.most >= most_possible) return false;
  Demand densest = exchange.demand;
  densest.input_tokens = most_possible;
  densest.money_max = amounts(exchange, densest).value_or(Amounts{}).most;
  if (would_pass(exchange.limit_sets, densest)) return false;
  Demand learnt = exchange.demand;
  learnt.money_max = amounts(exchange, learnt).value_or(Amounts{}).least;
  return would_pass(exchange.limit_sets, learnt);
}

core::Result<LimitReservation, LimitRefusal> reserve_what_is_left(Exchange& exchange) {
  Demand& demand = exchange.demand;
  exchange.facts.budget_left.reset();
  demand.money_max = amounts(exchange, demand).value_or(Amounts{}).most;
  auto reserved = reserve(exchange.limit_sets, demand);
  while (!reserved.ok() && by_money(reserved.error())) {
    const auto less = amounts(exchange, demand, demand.money_max);
    if (!less) break;
    demand.money_max = less->most;
    exchange.facts.budget_left = less->most;
    reserved = reserve(exchange.limit_sets, demand);
  }
  return reserved;
}

}  // namespace sluice::gateway
