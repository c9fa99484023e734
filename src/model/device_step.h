// A step on a device: its numbers on both sides, its shape, and what is wanted of it.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace sluice::model {

// The batch's numbers, in one copy on each side.
struct StepNumbers {
  int32_t* ids = nullptr;                // (rows_max)
  int32_t* positions = nullptr;          // (rows_max)
  int32_t* tables = nullptr;             // (rows_max)
  int32_t* single_rows = nullptr;        // (rows_max)
  int32_t* logit_rows = nullptr;         // (rows_max)
  int32_t* state_rows = nullptr;         // (rows_max): of a draft
  kernels::PromptTile* tiles = nullptr;  // (rows_max)
  int32_t* pages = nullptr;              // (page_entries_max)
};

// The host's side of a step under way.
struct StepFlight {
  kernels::DeviceBuffer storage;  // pinned; what follows points into it
  StepNumbers numbers;
  kernels::SampleRow* how = nullptr;  // (rows_max)
  int32_t* ids = nullptr;             // (rows_max): what was sampled
  int64_t logit_rows = 0;
};

// What becomes of the rows of logits.
enum class StepOutput : uint8_t {
  kLogits,   // they come to the host
  kBest,     // the best ids do
  kSampled,  // ids by their SampleRow
};
struct StepWanted {
  StepOutput output = StepOutput::kLogits;
  float* logits = nullptr;  // of kLogits
  int32_t vocab = 0;        // ids that may be chosen
};

// What the ops of a step need besides the numbers.
struct StepShape {
  int64_t rows = 0;  // padded
  int32_t singles = 0;
  int32_t tiles = 0;
  int64_t logit_rows = 0;
  int64_t last_rows = 0;  // that go on behind the last layer's attention
  int64_t page_entries = 0;
  bool has_prompts = false;  // a sequence with more than one row
  bool is_recorded = false;
};

}  // namespace sluice::model
