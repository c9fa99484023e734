// A step on a device: its numbers on both sides, its shape, and what is wanted of it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/device.h"
#include "model/step.h"

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
  int32_t* ids = nullptr;   // otherwise, on the device
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

struct RecordedStep {
  std::unique_ptr<kernels::Recording> ops;
  std::vector<QueuePart> parts;  // between its clocks, where it has any
};

// What passes of the draft layer need besides.
struct DeviceDrafts {
  kernels::DeviceBuffer storage;  // what follows points into it
  float* embedded = nullptr;      // (rows, hidden)
  uint16_t* joined = nullptr;     // bf16 (rows, 2 · hidden)
  int32_t* ids = nullptr;         // (kDraftPassesMax, rows): guessed
  std::vector<int32_t> rows;      // the last of each sequence
  std::array<StepFlight, kDraftPassesMax> flights;
  StepFlight* flight = nullptr;  // of the pass that is being submitted
  int32_t passes = 0;            // submitted since the last step
  // By rows, those that go on, the hidden states, and where the tokens go: null: logits to the
  // host.
  std::map<std::tuple<int64_t, int64_t, DraftBatch::Hidden, const int32_t*>,
           std::unique_ptr<kernels::Recording>>
      recordings;
};

}  // namespace sluice::model
