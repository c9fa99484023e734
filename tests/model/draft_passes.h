// Passes of a tiny model's draft layer beside the processor's exact ones.
#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace sluice::model::testing {

// DraftFolder's model in steps and passes of few rows and of many: the largest root mean square
// error of the logits of a step or pass, as a share of their range.
double worst_draft_error(std::shared_ptr<kernels::Device> device, const std::string& place);

}  // namespace sluice::model::testing
