// The part of `sluice bench report` that a user of the server would feel: the same load over HTTP,
// with a `sluice serve` of its own.
#pragma once

#include <string>
#include <vector>

#include "apps/bench/report.h"
#include "core/result.h"

namespace sluice::apps {

struct ServedLoadOptions {
  std::string model;                       // as on the command line
  std::vector<std::string> model_options;  // of the same command line, for `serve`
  ReportLoad load;
  std::vector<int32_t> stream_counts;
  int64_t kv_token_bytes = 0;
};

// A report without rows, whose note says why, where the model has no vocabulary; with a fault where
// the server did not start.
ReportServer measure_server(const ServedLoadOptions& options);

}  // namespace sluice::apps
