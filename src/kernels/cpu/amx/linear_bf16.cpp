// Linear layers of bf16 weights: TDPBF16PS adds to every (row, output) of a tile, over 32 values,
// two float sums, of the even and of the odd values, each in order by fused multiply-adds.
#include "kernels/cpu/amx/whole_tiles.inc"
// After the vector that it is written in.
#include "kernels/cpu/generic/silu.inc"

namespace sluice::kernels::amx {
namespace {

struct Bf16Product {
  static constexpr int64_t kTileValues = kBf16TileValues;
  static void first_by_first() { _tile_dpbf16ps(0, 4, 6); }
  static void first_by_second() { _tile_dpbf16ps(1, 4, 7); }
  static void second_by_first() { _tile_dpbf16ps(2, 5, 6); }
  static void second_by_second() { _tile_dpbf16ps(3, 5, 7); }
};

struct Bf16Linear : Bf16Product {
  explicit Bf16Linear(const LinearArgs&) {}
  __m512 floats(int64_t, int64_t, const int32_t* sums) const { return _mm512_load_ps(sums); }
};

// silu(gate) · up, packed: the two panels are one of each matrix.
struct GatedBf16 : Bf16Product {
  static constexpr int64_t kOutputs = kPanel;
  const GatedArgs& args;
  int64_t rows = args.rows, inputs = args.gate.inputs, outputs = args.gate.outputs;
  const std::byte* x_packed = args.x_packed;
  int64_t panel_bytes = TileWeights{outputs, inputs}.panel_bytes();
  TileActivations to{outputs, rows};

  explicit GatedBf16(const GatedArgs& all) : args(all) {}
  Share share(int thread, int threads) const {
    return share_of(outputs, kOutputs, thread, threads);
  }
  Panels panels_from(int64_t output) const {
    const int64_t at = output / kPanel * panel_bytes;
    return {{args.gate.data + at, args.up.data + at}, output, panel_bytes};
  }
  void finish(int64_t row, const Panels& panels, const int32_t* gate, const int32_t* up) const {
    const int64_t column = panels.first_output;
    std::byte* at = args.packed + row / kTileRows * to.group_bytes() +
                    column / kBf16TileValues * to.block_bytes() + row % kTileRows * kRowBytes +
                    column % kBf16TileValues * 2;
    const __m512 value = silu_mul_of(_mm512_load_ps(gate), _mm512_load_ps(up));
    _mm256_store_si256(reinterpret_cast<__m256i*>(at), (__m256i)_mm512_cvtneps_pbh(value));
  }
};

}  // namespace

void linear_bf16(const LinearArgs& args, int thread, int threads) {
  linear_whole_tiles(PlainLinear<Bf16Linear>(args), thread, threads);
}

void gated_bf16(const GatedArgs& args, int thread, int threads) {
  linear_whole_tiles(GatedBf16(args), thread, threads);
}

}  // namespace sluice::kernels::amx
