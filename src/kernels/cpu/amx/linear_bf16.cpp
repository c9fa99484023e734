// Linear layers of bf16 weights: TDPBF16PS adds to every (row, output) of a tile, over 32 values,
// two float sums, of the even and of the odd values, each in order by fused multiply-adds.
#include "kernels/cpu/amx/whole_tiles.inc"

namespace sluice::kernels::amx {
namespace {

struct Bf16Product {
  static constexpr int64_t kTileValues = kBf16TileValues;
  static void first_by_first() { _tile_dpbf16ps(0, 4, 6); }
  static void first_by_second() { _tile_dpbf16ps(1, 4, 7); }
  static void second_by_first() { _tile_dpbf16ps(2, 5, 6); }
  static void second_by_second() { _tile_dpbf16ps(3, 5, 7); }
  explicit Bf16Product(const LinearArgs&) {}
  __m512 floats(int64_t, int64_t, const int32_t* sums) const { return _mm512_load_ps(sums); }
};

}  // namespace

void linear_bf16(const LinearArgs& args, int thread, int threads) {
  linear_whole_tiles<Bf16Product>(args, thread, threads);
}

}  // namespace sluice::kernels::amx
