// Where the time of a decode step goes, part by part, beside what each part must read.
#pragma once

#include <vector>

#include "apps/bench/report.h"
#include "apps/bench/step_shares.h"

namespace sluice::apps {

struct StepParts {
  const std::vector<PartRead>& reads;
  const StepShares& forward;
  bool has_device = false;
  bool is_hybrid = false;  // the processor has experts of a step of the device
  double sampling_us = 0;  // by the engine
  double other_us = 0;     // scheduling, events
};

// Every read belongs to one part of its place. A device's parts add up to the forward pass; so do
// the processor's, which in a hybrid step are beside them.
std::vector<PartTime> times_of_parts(const StepParts& step);

}  // namespace sluice::apps
