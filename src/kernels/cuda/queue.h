// Whose calls go to which card, and the stream that a device's ops are queued on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {

// A thread's runtime calls go to one card, the first to begin with. Whoever uses a device's stream,
// or its memory, has called this before.
inline void enter(int32_t card) {
  thread_local int32_t entered = 0;
  if (entered == card) return;
  check(cudaSetDevice(card), "card");
  entered = card;
}

// The stream that ops are queued on; the thread that uses it enters its card.
class Queue {
 public:
  explicit Queue(int32_t card) : card_(card) {
    enter(card);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  }
  ~Queue() {
    enter(card_);
    cudaStreamDestroy(stream_);
  }
  operator cudaStream_t() const {
    enter(card_);
    return stream_;
  }

 private:
  const int32_t card_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace sluice::kernels::cuda
