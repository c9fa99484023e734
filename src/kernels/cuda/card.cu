// Which of the binary's code the card runs.
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {
namespace {

__global__ void asked_kernel() {}

}  // namespace

int code_of_card() {
  cudaFuncAttributes found{};
  const cudaError_t error = cudaFuncGetAttributes(&found, asked_kernel);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
      error == cudaErrorUnsupportedPtxVersion) {
    (void)cudaGetLastError();
    return 0;
  }
  check(error, "code");
  return found.ptxVersion;
}

const Card& card() {
  static const Card card = card_of(code_of_card());
  return card;
}

int processors_of_card() {
  static const int processors = [] {
    int number = 0, count = 0;
    check(cudaGetDevice(&number), "card");
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, number), "processors");
    return count;
  }();
  return processors;
}

}  // namespace sluice::kernels::cuda
