// `sluice bench MODEL --prompt-file`: the answer to a text, with drafts and without.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/bench/benched_model.h"
#include "apps/model/speculation_options.h"
#include "core/result.h"

namespace sluice::apps {

struct DraftBenchOptions {
  BenchedModelOptions benched;
  // UTF-8; the text of special tokens is these tokens. Of random weights each byte is a token.
  std::string prompt_file;
  SpeculationOptions speculation;
  int32_t answer_tokens = 0;
  std::vector<int32_t> stream_counts;
  int32_t repeats = 0;
  int32_t step_tokens = 0;
  std::string output;  // text or json
};

// Greedy answers, in turn without drafts and with them; prints a line, or a JSON row, for each
// number of streams.
core::Result<void> bench_drafts(const DraftBenchOptions& options);

}  // namespace sluice::apps
