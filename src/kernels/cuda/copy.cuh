// Copies between pinned memory and the card by a kernel: few bytes are there sooner than by the
// copy engine, which the queue has to wait for.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace sluice::kernels::cuda {

inline constexpr int64_t kSmallCopyBytes = 16 << 10;

// bytes: a multiple of 4, at most kSmallCopyBytes; both sides at multiples of 4.
void copy_small(std::byte* to, const std::byte* from, int64_t bytes, cudaStream_t stream);

// A clock: the card's time in ns, once all that was queued before is done.
void stamp(uint64_t* pinned_ns, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
