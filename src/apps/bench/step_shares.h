// Where the time of decode steps goes, and how many experts their tokens choose.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/step.h"

namespace sluice::apps {

// µs of a thread in a forward pass, mean over threads.
struct StepShares {
  double whole_us = 0;
  double linear_us = 0;
  double attention_us = 0;
  double rows_us = 0;
  double waiting_us = 0;                              // for other threads
  double device_us = 0;                               // for a device's part
  std::array<double, model::kQueueParts> queue_us{};  // of the device, where its queue had clocks
  double rest_us() const {
    return whole_us - linear_us - attention_us - rows_us - waiting_us - device_us;
  }
  double queued_us() const;  // sum of queue_us
};

std::string_view name_of(model::QueuePart part);

// Of a profile over `steps` passes, each of which took whole_us.
StepShares step_shares(const model::StepProfile& profile, double steps, double whole_us);

// Counts what tokens of decode steps chose: an expert is read once a step, whoever chose it.
class ExpertCount {
 public:
  explicit ExpertCount(int32_t experts) : is_chosen_(static_cast<size_t>(experts)) {}

  // A layer of a step of `rows` tokens.
  void see(std::span<const int32_t> ids, size_t rows);
  // Distinct experts of a step, in those of one token; 1 where nothing was seen.
  double ratio() const {
    return of_a_row_ == 0 ? 1 : static_cast<double>(distinct_) / static_cast<double>(of_a_row_);
  }

 private:
  std::vector<uint8_t> is_chosen_;
  int64_t distinct_ = 0;
  int64_t of_a_row_ = 0;
};

}  // namespace sluice::apps
