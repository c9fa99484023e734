// Floats to blocks of a type: the counterpart of kernels::decode, which defines the layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace sluice::quantize {

bool can_encode(core::DType type);
// "F32, F16, …" for messages.
std::string encodable_types();

// `values`: finite, a whole number of blocks. Every block depends on its own values alone.
void encode(core::DType type, const float* values, int64_t count, std::byte* blocks);

}  // namespace sluice::quantize
