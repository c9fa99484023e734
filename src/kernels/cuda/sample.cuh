// Launches of sample.cu: what a Device's sample() does beside argmax.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_sample_args.h"

namespace sluice::kernels::cuda {

// Before argmax: masks columns from args.columns on, and the rows' masked ids.
void mask_logits(const DeviceSampleArgs& args, cudaStream_t stream);
// After argmax: of the rows that are not greedy, the token that chance takes. args.ids have the
// best one of each row.
void choose_tokens(const DeviceSampleArgs& args, cudaStream_t stream);

// As Device::take_sampled().
void take_sampled(int32_t* ids, int64_t rows, const int32_t* sampled, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
