#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/int8_layout.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/rows.inc"

namespace sluice::kernels::amx {

void quantize_int8(const QuantizeArgs& args, int thread, int threads) {
  const TileCodes layout{args.inputs, args.rows};
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    std::byte* group = args.packed + r / TileCodes::kRows * layout.group_bytes();
    const int64_t slot = r % TileCodes::kRows;
    quantize_row(args.x + r * args.inputs, layout.blocks(),
                 {.codes = reinterpret_cast<int8_t*>(group) + slot * kBlock,
                  .code_step = layout.block_bytes(),
                  .scales = reinterpret_cast<float*>(group + layout.scales_at()) + slot,
                  .scaled_sums = reinterpret_cast<float*>(group + layout.sums_at()) + slot,
                  .zero_sums = nullptr,
                  .scale_step = TileCodes::kRows});
  }
}

}  // namespace sluice::kernels::amx
