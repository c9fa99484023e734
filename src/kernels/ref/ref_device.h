// A device whose memory is the host's and whose ops are plain loops over the reference ops: the
// definition of each op of kernels/device.h.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace sluice::kernels {

std::unique_ptr<Device> make_reference_device();

}  // namespace sluice::kernels
