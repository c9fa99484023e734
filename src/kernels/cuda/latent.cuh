// What the launches of latent attention need beside their arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_latent_args.h"

namespace sluice::kernels::cuda {

struct LatentScratch {
  uint16_t* q_nope = nullptr;    // bf16 (rows, heads, nope dims)
  uint16_t* queries = nullptr;   // f16 (rows, heads, cache row)
  uint16_t* attended = nullptr;  // bf16 (rows, heads, latent rank)
  float* parts = nullptr;        // latent_part_floats()
};
int64_t latent_part_floats();

// latent_rows.cu: rotation and the store of the cache's rows
void turn_latent(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

// latent_heads.cu: y[r, h] = matrix h · x[r, h] into queries, and out of the latent space
void multiply_k_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);
void multiply_v_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

// latent_few.cu: of few rows and Q8_0, turn_latent() and multiply_k_b() as one, and multiply_v_b()
bool latent_rows_are_few(const DeviceLatentArgs& args);
void make_queries(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);
void make_values(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

// latent_attention.cu
void attend_latent(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
