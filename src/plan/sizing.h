// Published rules of thumb for the memory and hardware of models in FP16, beside what is computed.
// They are kept as printed, where they look odd too; sizing_notes() says why they differ.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/traffic.h"

namespace sluice::plan {

struct SizingRow {
  double model_b = 0;  // nominal size, 10^9 parameters
  double fp16_gb = 0;
  std::string_view inference_hardware;  // alternatives, separated by " | "
  double inference_gb_low = 0;
  double inference_gb_high = 0;
  std::string_view training_hardware;
  double training_gb_low = 0;
  double training_gb_high = 0;
};

std::span<const SizingRow> sizing_rows();
// The row that a model of this size goes by: up to 15 % smaller. Null where there is none.
const SizingRow* find_sizing(int64_t parameters);

// What a deployment holds when its weights are FP16.
struct ComputedSize {
  int64_t parameters = 0;
  double fp16_gb = 0;
  double cache_gb = 0;       // of all streams
  double checkpoint_gb = 0;  // of training
};
ComputedSize computed_size(const ModelSize& model, const Load& load);

// One sentence for each figure of the row: how far it is from the computed one and what explains
// the difference.
std::vector<std::string> sizing_notes(const SizingRow& row, const ComputedSize& computed);

}  // namespace sluice::plan
