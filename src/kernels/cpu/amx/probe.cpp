#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tiles.h"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kTileOperations = 2 * 16 * 16;  // of each value of the inner dimension

// Full tiles of zeros: a product takes the same time whatever the values.
template <typename Multiply>
int64_t keep_busy(int64_t products, const Multiply& multiply) {
  static constexpr TileConfig kConfig(kTileRows, 2);
  _tile_loadconfig(&kConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < products; i += 4) multiply();
  _tile_release();
  return products;
}

}  // namespace

int64_t probe_int8(int64_t rounds, int32_t*) {
  const int64_t products = keep_busy(rounds, [] {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  });
  return products * kTileOperations * 64;
}

int64_t probe_bf16(int64_t rounds, int32_t*) {
  const int64_t products = keep_busy(rounds, [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  });
  return products * kTileOperations * 32;
}

}  // namespace sluice::kernels::amx
