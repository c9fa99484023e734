// What a request may come to, and what its limits hold for it.
#pragma once

#include <cstdint>

#include "core/result.h"
#include "gateway/edge/exchange.h"
#include "gateway/limits/limit_set.h"

namespace sluice::gateway {

int64_t output_tokens_max(const Exchange& exchange);
// Of the replicas' time: it may run so long, alone.
int64_t compute_us_max(const Exchange& exchange);

PromptSize prompt_size(const Exchange& exchange);
TokenRange prompt_range(const Exchange& exchange);  // counted, or estimated

// What was refused with the most that its prompt may have would pass with the least, somewhere: so
// it is to be counted.
bool estimate_decides(const Exchange& exchange, const TokenRange& range);
// What passes with the most that was learnt would not with the most that so many bytes can be: the
// same.
bool learnt_bound_decides(const Exchange& exchange, const TokenRange& range);

// Reserves exchange.demand with as much money as the dearest pool takes. Where that is more than is
// left: as much as the dearest of those that take less, and then facts.budget_left keeps the valve
// to these. The refusal is the last one's.
core::Result<LimitReservation, LimitRefusal> reserve_what_is_left(Exchange& exchange);

}  // namespace sluice::gateway
