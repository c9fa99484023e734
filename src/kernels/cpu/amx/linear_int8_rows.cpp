// Linear layers of int8 weights with one scale an output and int8 activations with one scale a row
// (W8A8): exact int32 sums over the whole input, scaled once. Nothing stands between two products
// of tiles, so this is the form that comes nearest to the unit's peak.
#include "kernels/cpu/amx/whole_tiles.inc"

namespace sluice::kernels::amx {
namespace {

struct Int8RowsProduct {
  static constexpr int64_t kTileValues = kInt8TileValues;
  static void first_by_first() { _tile_dpbssd(0, 4, 6); }
  static void first_by_second() { _tile_dpbssd(1, 4, 7); }
  static void second_by_first() { _tile_dpbssd(2, 5, 6); }
  static void second_by_second() { _tile_dpbssd(3, 5, 7); }
  static __m512 floats(const LinearArgs& args, int64_t row, int64_t output, const int32_t* sums) {
    const TileActivations x{args.weights.inputs, args.rows, kTileValues};
    const TileWeights w{args.weights.outputs, args.weights.inputs, kTileValues};
    const auto* row_scales = reinterpret_cast<const float*>(args.x_packed + x.scales_at());
    const auto* output_scales = reinterpret_cast<const float*>(args.weights.data + w.scales_at());
    const __m512 scale =
        _mm512_mul_ps(_mm512_loadu_ps(output_scales + output), _mm512_set1_ps(row_scales[row]));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scale);
  }
};

}  // namespace

void linear_int8_rows(const LinearArgs& args, int thread, int threads) {
  linear_whole_tiles<Int8RowsProduct>(args, thread, threads);
}

}  // namespace sluice::kernels::amx
