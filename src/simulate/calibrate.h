// An engine's model from what `sluice bench MODEL -o json` has measured of it.
#pragma once

#include <string_view>

#include "core/result.h"
#include "simulate/modelled_engine.h"

namespace sluice::simulate {

// Sets the times of `model` from the outputs of one or several runs, one after the other, all of
// one model with the same kernels and threads:
//   decode rows (n_gen > 0): a step takes n_streams ÷ avg_ts; step_ns, step_stream_ns and
//     step_context_ns are the least squares of relative errors over them, none negative, and those
//     that the rows cannot tell apart are 0;
//   prefill rows: prompt_token_ns is the mean of 1 ÷ avg_ts less the row's share of step_ns.
// kInvalid: no JSON, a field that is missing, rows of different engines, no decode or no prefill
// row.
core::Result<void> calibrate(std::string_view bench_json, EngineModel* model);

}  // namespace sluice::simulate
