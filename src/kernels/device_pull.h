// Experts of the host that a device takes for one layer of one step: the processor computes most
// of those that were chosen, and of the others the device reads the weights over the link meanwhile
// and computes them. Which ones both sides read from what pick() leaves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/device_bring.h"

namespace sluice::kernels {

inline constexpr int32_t kPickedExpertsMax = 1024;  // experts of a layer
inline constexpr uint32_t kPullShareOne = 1 << 16;

// Of `chosen` experts that nobody has but the host, how many come over the links.
constexpr int32_t pulled_experts(int32_t chosen, uint32_t share) {
  return static_cast<int32_t>(int64_t{chosen} * share / kPullShareOne);
}

// Of the experts that rows chose and no card has, the last pulled_experts() by number, but at most
// cards · room, are the cards' in turn, the last one the first card's.
struct DevicePickArgs {
  const int32_t* ids = nullptr;  // (rows, used); -1: none
  int64_t rows = 0;
  int32_t used = 0;
  int32_t experts = 0;             // at most kPickedExpertsMax
  const int32_t* slots = nullptr;  // (experts): -1: no card has it; null: none has any
  uint32_t share = 0;              // of kPullShareOne
  int32_t room = 0;                // experts that this card takes at most
  int32_t card = 0;
  int32_t cards = 1;
  int32_t* host_ids = nullptr;  // (rows, used): ids, or -1 where a card has the expert
  int32_t* taken = nullptr;     // (1 + room): how many this card takes, and which
  int32_t* slot_of = nullptr;   // (experts): place among those, or -1
};

// Equal matrices, one an expert, that are unpacked on their way: taken expert i at to + i · stride.
struct PulledStack {
  PackedLayout layout = PackedLayout::kUnknown;
  int64_t outputs = 0;  // as in BroughtMatrix
  int64_t inputs = 0;
  std::byte* to = nullptr;
  int64_t stride_bytes = 0;
};

inline constexpr int kPulledStacks = 3;  // gate, up, down

struct DevicePullArgs {
  const int32_t* taken = nullptr;          // as pick() left it
  const std::byte* const* from = nullptr;  // (experts, kPulledStacks), on the device: pinned memory
  std::array<PulledStack, kPulledStacks> stacks;
};

}  // namespace sluice::kernels
