// Experts of the host in steps of a device: what is handed over, copied and resident.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "model/expert_cache.h"
#include "model/weights.h"

namespace sluice::model {

// Pinned memory that a layer's rows are handed over in.
struct ExpertMail {
  kernels::Mailbox* box = nullptr;
  uint16_t* normed = nullptr;  // bf16 (rows, hidden)
  int32_t* ids = nullptr;      // (rows, used)
  int32_t* own = nullptr;      // (rows, used): those that the host computes, or -1
  float* weights = nullptr;    // (rows, used)
  float* out = nullptr;        // (rows, hidden)
  int32_t* guessed = nullptr;  // (2, rows, used): as post_guess() has them
};

// What the next layer's router says of rows that are not done with this one.
struct ExpertGuesses {
  uint16_t* normed = nullptr;  // bf16 (rows, hidden)
  int32_t* ids = nullptr;      // (rows, used)
  float* weights = nullptr;    // (rows, used)
};

// Experts of the host in steps of many rows: a layer's are copied to the device while those of
// the layer before are used.
struct ExpertStreaming {
  kernels::PackedLayout in = kernels::PackedLayout::kUnknown;  // of gate and up
  kernels::PackedLayout down = kernels::PackedLayout::kUnknown;
  int64_t rows_min = INT64_MAX;  // of a step
  int64_t in_stride = 0;         // bytes of a matrix on the device
  int64_t down_stride = 0;
  int64_t staging_bytes = 0;
  bool is_on = false;                       // in the step under way
  std::vector<const LayerWeights*> layers;  // of the step under way
  size_t next_to_bring = 0;                 // of `layers`
  size_t next_to_use = 0;
  std::vector<kernels::BroughtMatrix> matrices;
};

// Stacks of gate, up and down, one behind the other.
struct ExpertStackRoom {
  std::byte* base = nullptr;
  int64_t experts = 0;
};

// Experts that recorded steps take over the link, each for one layer of one step.
struct ExpertPulls {
  uint32_t share = 0;             // of kernels::kPullShareOne: of those that no card has
  kernels::DeviceBuffer storage;  // a room; where there is a share
  kernels::DeviceBuffer from;     // (host layers, experts, kernels::kPulledStacks): pinned
  ResidentCounts counts;          // its read and pulled
  int32_t* host_ids = nullptr;    // (rows, used): of a layer, or -1
  int32_t* taken = nullptr;       // (1 + kPulledMax)
  int32_t* slot_of = nullptr;     // (experts)
};
inline constexpr int32_t kPulledMax = 32;  // experts of a layer, of each card

// Some experts of host layers, exchanged between steps for those that are used more.
struct ExpertResidents {
  std::vector<ExpertCache> caches;                           // by host layer: the first card's
  std::vector<ExpertStackRoom> rooms;                        // by host layer
  std::vector<std::optional<ExpertCache::Exchange>> coming;  // by host layer: on its way
  kernels::DeviceBuffer storage;                             // the rooms, and staging
  kernels::DeviceBuffer slots;  // i32 (host layers, experts): on the card, and of several on any
  kernels::DeviceBuffer sent;   // the same, pinned
};

}  // namespace sluice::model
