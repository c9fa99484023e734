// Random blocks of the types that nothing is encoded to here: speed does not depend on what weights
// say, but their size must be that of weights, or activations are no numbers after a few layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/dtype.h"

namespace sluice::quantize {

bool has_random_blocks(core::DType type);
std::string random_block_types();  // "Q3_K, …" for messages

// Whole blocks with random codes, under scales that give their values the standard deviation
// kWeightDeviation and a mean near 0. A function of the seed.
void fill_random_blocks(core::DType type, uint64_t seed, std::span<std::byte> blocks);

}  // namespace sluice::quantize
