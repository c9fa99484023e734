// Weights of the processor's layouts (PlanesOnHost, E4m3OnHost) to the device's Q4_0, Q4_1 or e4m3:
// bytes change their places, whole scales become f16. Read once, written once; the link is forty
// times slower. Reference: kernels/ref/ref_device_bring.cpp.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/unpack.cuh"
#include "kernels/cuda/unpack_blocks.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = kUnpackLanes;

struct UnpackArgs {
  const uint8_t* from = nullptr;
  uint8_t* codes = nullptr;
  __half* scales = nullptr;
  int64_t inputs = 0;
  int64_t panel_bytes = 0;
};

// A thread has a block of an output; 16 neighbours have a block of a panel.
template <bool kMinima>
__global__ void unpack_kernel(UnpackArgs args) {
  wait_for_previous();
  let_next_start();
  const int64_t blocks = args.inputs / PlanesOnHost::kBlock;
  const int64_t panel = blockIdx.y;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t block = index / kLanes;
  const int lane = static_cast<int>(index % kLanes);
  if (block >= blocks) return;
  const uint8_t* data = args.from + panel * args.panel_bytes;
  unpack_block<kMinima>(data + PlanesOnHost::kHeaderBytes + block / 2 * kPairBytesOf<kMinima>,
                        static_cast<int>(block % 2), lane,
                        reinterpret_cast<const float*>(data)[lane], args.codes, args.scales,
                        (panel * kLanes + lane) * blocks + block);
}

struct UnpackE4m3Args {
  const uint8_t* from = nullptr;
  uint8_t* codes = nullptr;
  float* scales = nullptr;
  int64_t inputs = 0;
};

// A thread has 32 inputs of an output; 16 neighbours have a tile.
__global__ void unpack_e4m3_kernel(UnpackE4m3Args args) {
  wait_for_previous();
  let_next_start();
  using Host = E4m3OnHost;
  constexpr int64_t kTiles = Host::kBlock / Host::kTile;
  const int64_t blocks = args.inputs / Host::kBlock;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t tile = index / Host::kPanel, block = tile / kTiles;
  const int lane = static_cast<int>(index % Host::kPanel);
  if (block >= blocks) return;
  const uint8_t* of_block = args.from + (blockIdx.y * blocks + block) * Host::kBlockBytes;
  const int64_t output = blockIdx.y * Host::kPanel + lane;
  unpack_e4m3_tile(of_block, static_cast<int>(tile % kTiles), lane,
                   args.codes + output * args.inputs + tile * Host::kTile);
  if (tile % kTiles == 0)
    args.scales[output * blocks + block] =
        reinterpret_cast<const float*>(of_block + Host::kScalesAt)[lane];
}

void unpack_e4m3(const BroughtMatrix& m, const std::byte* from, cudaStream_t stream) {
  const int64_t threads = m.inputs / E4m3OnHost::kTile * kLanes;
  launch("unpack", unpack_e4m3_kernel,
         {dim3(static_cast<unsigned>(div_ceil(threads, int64_t{kThreads})),
               static_cast<unsigned>(m.outputs / kLanes)),
          kThreads, 0, stream},
         UnpackE4m3Args{reinterpret_cast<const uint8_t*>(from), reinterpret_cast<uint8_t*>(m.to),
                        reinterpret_cast<float*>(
                            m.to + device_scales_at(core::DType::kF8_B128, m.outputs, m.inputs)),
                        m.inputs});
}

}  // namespace

void unpack(const BroughtMatrix& m, const std::byte* from, cudaStream_t stream) {
  if (m.layout == PackedLayout::kE4m3) return unpack_e4m3(m, from, stream);
  const int64_t blocks = m.inputs / PlanesOnHost::kBlock;
  const LaunchShape shape{dim3(static_cast<unsigned>(div_ceil(blocks * kLanes, int64_t{kThreads})),
                               static_cast<unsigned>(m.outputs / kLanes)),
                          kThreads, 0, stream};
  const int64_t scales_at = device_scales_at(brought_type(m.layout), m.outputs, m.inputs);
  const UnpackArgs args{
      reinterpret_cast<const uint8_t*>(from), reinterpret_cast<uint8_t*>(m.to),
      reinterpret_cast<__half*>(m.to + scales_at), m.inputs,
      PlanesOnHost{m.layout == PackedLayout::kPlanesWithMinima}.panel_bytes(m.inputs)};
  if (m.layout == PackedLayout::kPlanesWithMinima)
    launch("unpack", unpack_kernel<true>, shape, args);
  else
    launch("unpack", unpack_kernel<false>, shape, args);
}

}  // namespace sluice::kernels::cuda
