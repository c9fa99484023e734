// What the launches of experts need beside their arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_expert_args.h"

namespace sluice::kernels::cuda {

// Rows of one expert, at consecutive places.
struct ExpertTile {
  int32_t expert = 0;
  int32_t first = 0;  // place
  int32_t count = 0;
};
struct ExpertTiles {
  int32_t rows = 0;  // of a tile: 8, 16 or 64
  int64_t count_max = 0;
};

// Choices sorted by expert; those of -1 have no place.
struct ExpertPlan {
  int32_t* choices = nullptr;   // by place
  int32_t* places = nullptr;    // by choice, or -1
  ExpertTile* tiles = nullptr;  // expert_tiles_max()
  int32_t* tile_count = nullptr;
};
int64_t expert_tiles_max(int64_t choices, int32_t experts);

struct ExpertScratch {
  ExpertPlan plan;
  uint16_t* activated = nullptr;  // bf16 (choices, expert ffn)
  uint16_t* out = nullptr;        // bf16 (choices, inputs)
  float* scores = nullptr;        // score_floats()
  bool is_deterministic = false;  // of DeviceLimits
};

// experts.cu
void run_experts(const DeviceExpertArgs& args, const ExpertScratch& scratch, cudaStream_t stream);

// experts_narrow.cu: of few rows and weights in blocks; the same with `activated` of the scratch
bool experts_are_narrow(const DeviceExpertArgs& args);
void run_experts_narrow(const DeviceExpertArgs& args, uint16_t* activated, cudaStream_t stream);

// to += from, of experts that another memory has
void add(float* to, const float* from, int64_t count, cudaStream_t stream);

// router.cu
int64_t score_floats(int64_t rows_max, int32_t experts);
void route(const DeviceRouteArgs& args, const ExpertScratch& scratch, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
