// A device whose memory is the host's and whose ops are plain loops over the reference ops: the
// definition of each op of kernels/device.h.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace sluice::kernels {

// free_bytes: what it says of its memory; 0: it has no limit.
std::unique_ptr<Device> make_reference_device(int64_t free_bytes = 0);

}  // namespace sluice::kernels
