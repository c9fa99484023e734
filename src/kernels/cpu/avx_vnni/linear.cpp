// Int8 linear layers as avx2 has them, one VPDPBUSD for three instructions; the same bits.
#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx_vnni/avx_vnni.h"
#include "kernels/cpu/avx_vnni/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/linear.inc"

namespace sluice::kernels::avx_vnni {

void linear(const LinearArgs& args, int thread, int threads) {
  const bool is_int8 = visit_format(args.weights.type, [&]<PackedFormat kFormat>() {
    linear_int8<kFormat>(args, thread, threads);
  });
  if (!is_int8) avx2::linear(args, thread, threads);
}

}  // namespace sluice::kernels::avx_vnni
