#include "kernels/cpu/avx_vnni/avx_vnni.h"
#include "kernels/cpu/avx_vnni/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/probe.inc"

namespace sluice::kernels::avx_vnni {

int64_t probe_int8(int64_t rounds, int32_t* sink) {
  return int8_dots(rounds, sink);
}

}  // namespace sluice::kernels::avx_vnni
