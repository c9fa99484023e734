// The part of `sluice bench report` that runs a model: the load through the engine, beside what
// this machine could do.
#pragma once

#include <vector>

#include "apps/bench/benched_model.h"
#include "apps/bench/report.h"
#include "core/result.h"

namespace sluice::apps {

struct ReportOptions {
  BenchedModelOptions benched;
  ReportLoad load{.input_tokens = 2048,
                  .output_tokens = 128,
                  .step_tokens = 512,
                  .repeats = 3,
                  .temperature = 1};
  std::vector<int32_t> stream_counts = {1, 2, 4, 8};
  RoofSource roof = RoofSource::kCache;
};

// Sets machine, model and rows, prints a line for each row on stderr. The model is gone on return.
core::Result<void> measure_engine(const ReportOptions& options, Report* report);

}  // namespace sluice::apps
