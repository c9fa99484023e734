#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx2/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/rows.inc"

namespace sluice::kernels::avx2 {

void rms_norm(const RmsNormArgs& args, int thread, int threads) {
  rms_norm_rows(args, thread, threads);
}
void rope(const RopeArgs& args, int thread, int threads) {
  rope_rows(args, thread, threads);
}
void add(const AddArgs& args, int thread, int threads) {
  add_rows(args, thread, threads);
}
void silu_mul(const SiluMulArgs& args, int thread, int threads) {
  silu_mul_rows(args, thread, threads);
}
void quantize_activations(const QuantizeArgs& args, int thread, int threads) {
  quantize_rows(args, thread, threads);
}

}  // namespace sluice::kernels::avx2
