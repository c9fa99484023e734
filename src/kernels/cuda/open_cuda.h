// The CUDA backend of kernels/device.h. Other headers of this folder stay inside it.
#pragma once

#include <memory>

#include "core/result.h"
#include "kernels/device.h"

namespace sluice::kernels {

// The first card. An Error says why there is none: this build has no CUDA code (absent.cpp), the
// machine has no driver or card, or the card is none that the code was compiled for.
core::Result<std::unique_ptr<Device>> open_cuda();

}  // namespace sluice::kernels
