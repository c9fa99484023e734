#include "gateway/edge/outcome.h"

#include <algorithm>
#include <array>
#include <memory_resource>
#include <vector>

namespace sluice::gateway {
namespace {

// Of a few attempts; of more, the rest is allocated.
constexpr size_t kRoomBytes = 2048;

using contract::PriceSide;
using contract::Unit;

constexpr size_t kReasonBytesMax = 32;

// An upstream may say anything; a record has room for names, and a store for valid text.
std::string_view recorded_reason(std::string_view said) {
  const bool is_name = std::ranges::all_of(said, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
  return is_name && said.size() <= kReasonBytesMax ? said : "other";
}

int64_t& quantity(ledger::Quantities* quantities, Unit unit) {
  return (*quantities)[static_cast<size_t>(unit)];
}

// Of the prompt as it was sent: an engine that goes on by token ids computed what others had said
// and states it as output.
ledger::Quantities stated(const api::RelayedUsage& usage, int64_t resumed_tokens) {
  ledger::Quantities out = {};
  quantity(&out, Unit::kPromptToken) = usage.prompt_tokens - usage.cached_tokens + resumed_tokens;
  quantity(&out, Unit::kCachedPromptToken) = usage.cached_tokens;
  quantity(&out, Unit::kReasoningToken) = usage.reasoning_tokens;
  quantity(&out, Unit::kOutputToken) =
      std::max<int64_t>(0, usage.completion_tokens - usage.reasoning_tokens - resumed_tokens);
  return out;
}

// What any of its replicas said of the prompt, else what was counted here, else a guess by its
// bytes. To who goes on by text, what was said before is prompt.
int64_t prompt_tokens(const Exchange& exchange) {
  int64_t said_before = 0;
  for (const Attempt& attempt : exchange.attempts) {
    const int64_t added = attempt.goes_on_by == GoesOnBy::kText ? said_before : 0;
    if (attempt.usage) return std::max<int64_t>(0, attempt.usage->prompt_tokens - added);
    said_before += attempt.output_tokens;
  }
  return exchange.prompt_tokens.value_or(exchange.prompt_tokens_guess);
}

ledger::Attempt billed(const Exchange& exchange, const Attempt& attempt, int64_t resumed_tokens) {
  const Directory& directory = attempt.table->directory();
  const ReplicaEntry& replica = *attempt.replica;
  const int64_t unix_s = exchange.arrived_unix_ns / 1'000'000'000;
  ledger::Attempt out = {
      .replica = replica.replica->id,
      .pool = replica.pool->pool->id,
      .owner = replica.pool->pool->owner,
      .sale = directory.price(*replica.model, *replica.pool, PriceSide::kSale, unix_s),
      .cost = directory.price(*replica.model, *replica.pool, PriceSide::kCost, unix_s),
      .start = attempt.goes_on_by == GoesOnBy::kNothing ? ledger::AttemptStart::kFresh
                                                        : ledger::AttemptStart::kResumed,
      .end = attempt.end};
  const bool by_text = attempt.goes_on_by == GoesOnBy::kText;
  if (attempt.usage) out.usage = stated(*attempt.usage, by_text ? 0 : resumed_tokens);
  quantity(&out.counted, Unit::kPromptToken) = prompt_tokens(exchange) + resumed_tokens;
  quantity(&out.counted, Unit::kOutputToken) = attempt.output_tokens;
  const int64_t compute_us = std::min(attempt.compute_us, exchange.facts.tokens.compute_us_max);
  quantity(&out.counted, Unit::kComputeMicrosecond) = compute_us;
  if (out.usage) quantity(&*out.usage, Unit::kComputeMicrosecond) = compute_us;
  return out;
}

}  // namespace

void fill_event(const Exchange& exchange, const Ending& ending, contract::UsageEvent* event) {
  event->id = exchange.id;
  event->parent = exchange.parent;
  event->kind = exchange.kind;
  event->outcome = ending.outcome;
  event->decision = exchange.decision;
  event->target_met = ending.target_met;
  event->status = static_cast<int16_t>(ending.status);
  event->tenant = exchange.key->tenant().tenant->id;
  event->project = exchange.key->project->project->id;
  event->key = exchange.key->key->id;
  event->model = exchange.model != nullptr ? exchange.model->model->id : "";
  event->model_digest = exchange.model != nullptr ? exchange.model->model->digest : "";
  event->finish_reason = recorded_reason(exchange.finish_reason);
  event->started_unix_ns = exchange.arrived_unix_ns;
  const int64_t tokens = exchange.output_tokens();
  event->ttft_ns = exchange.first_token_ns == 0 ? 0 : exchange.first_token_ns - exchange.arrived_ns;
  event->tpot_ns =
      tokens < 2 ? 0 : (exchange.last_token_ns - exchange.first_token_ns) / (tokens - 1);
  event->total_ns = ending.now_ns - exchange.arrived_ns;
  event->reserved = exchange.recorded ? exchange.demand.money_max : contract::NanoMoney{};
  event->lines.clear();
  if (exchange.attempts.empty()) return;
  std::array<std::byte, kRoomBytes> room;
  std::pmr::monotonic_buffer_resource memory(room.data(), room.size());
  std::pmr::vector<ledger::Attempt> attempts(&memory);
  attempts.reserve(exchange.attempts.size());
  int64_t said_before = 0;
  for (const Attempt& attempt : exchange.attempts) {
    attempts.push_back(billed(exchange, attempt, said_before));
    said_before += attempt.output_tokens;
  }
  event->lines = ledger::lines_of(ending.outcome, attempts);
}

api::RelayedUsage charged_usage(const contract::UsageEvent& event) {
  ledger::Quantities sum = {};
  for (const contract::UsageLine& line : event.lines)
    if (line.side != contract::LineSide::kCostOnly) quantity(&sum, line.unit) += line.quantity;
  const int64_t cached = quantity(&sum, Unit::kCachedPromptToken);
  const int64_t reasoning = quantity(&sum, Unit::kReasoningToken);
  return {.prompt_tokens = quantity(&sum, Unit::kPromptToken) + cached,
          .cached_tokens = cached,
          .completion_tokens = quantity(&sum, Unit::kOutputToken) + reasoning,
          .reasoning_tokens = reasoning};
}

}  // namespace sluice::gateway
