// The CUDA backend of kernels/device.h. Other headers of this folder stay inside it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/result.h"
#include "kernels/device.h"

namespace sluice::kernels {

// A card by its number among those of the machine, or one of `sharers` devices that lie on it. An
// Error says why there is none: this build has no CUDA code (absent.cpp), the machine has no driver
// or no such card, or the card is none that the code was compiled for.
core::Result<std::unique_ptr<Device>> open_cuda(int32_t card = 0, int32_t sharers = 1);

// Devices that read each other's memory, at most kCardsMax. A card that is named more than once is
// as many devices, which share its memory evenly: what a split does can be tested on one card, not
// how fast it is. An Error besides: two cards cannot read each other's memory.
core::Result<std::vector<std::shared_ptr<Device>>> open_cuda_cards(std::span<const int32_t> cards);

}  // namespace sluice::kernels
