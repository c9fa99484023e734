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

  explicit Int8RowsProduct(const LinearArgs& args)
      : row_scales_(reinterpret_cast<const float*>(
            args.x_packed +
            TileActivations{args.weights.inputs, args.rows, kTileValues}.scales_at())),
        output_scales_(reinterpret_cast<const float*>(
            args.weights.data +
            TileWeights{args.weights.outputs, args.weights.inputs, kTileValues}.scales_at())) {}

  __m512 floats(int64_t row, int64_t output, const int32_t* sums) const {
    const __m512 scale =
        _mm512_mul_ps(_mm512_loadu_ps(output_scales_ + output), _mm512_set1_ps(row_scales_[row]));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scale);
  }

 private:
  const float* const row_scales_;
  const float* const output_scales_;
};

}  // namespace

void linear_int8_rows(const LinearArgs& args, int thread, int threads) {
  linear_whole_tiles(PlainLinear<Int8RowsProduct>(args), thread, threads);
}

}  // namespace sluice::kernels::amx
