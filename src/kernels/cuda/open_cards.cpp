// Several devices that work on one model.
#include <algorithm>

#include "kernels/cuda/open_cuda.h"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels {
namespace {

core::Result<void> let_read(int32_t reader, int32_t owner) {
  int can = 0;
  cuda::check(cudaDeviceCanAccessPeer(&can, reader, owner), "peers");
  if (can == 0)
    return core::unsupported("CUDA device {} cannot read the memory of CUDA device {}", reader,
                             owner);
  int before = 0;
  cuda::check(cudaGetDevice(&before), "card");
  cuda::check(cudaSetDevice(reader), "card");
  const cudaError_t enabled = cudaDeviceEnablePeerAccess(owner, 0);
  if (enabled == cudaErrorPeerAccessAlreadyEnabled)
    (void)cudaGetLastError();
  else
    cuda::check(enabled, "peers");
  cuda::check(cudaSetDevice(before), "card");
  return {};
}

}  // namespace

core::Result<std::vector<std::shared_ptr<Device>>> open_cuda_cards(std::span<const int32_t> cards) {
  if (std::ssize(cards) > kCardsMax)
    return core::unsupported("{} devices: at most {}", cards.size(), kCardsMax);
  std::vector<std::shared_ptr<Device>> devices;
  for (const int32_t card : cards) {
    const auto sharers = static_cast<int32_t>(std::count(cards.begin(), cards.end(), card));
    devices.push_back(TRY(open_cuda(card, sharers)));
  }
  for (const int32_t reader : cards)
    for (const int32_t owner : cards)
      if (reader != owner) TRY(let_read(reader, owner));
  return devices;
}

}  // namespace sluice::kernels
