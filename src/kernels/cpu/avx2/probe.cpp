#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx2/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/probe.inc"

namespace sluice::kernels::avx2 {

int64_t probe_read(const std::byte* data, int64_t bytes) {
  return read_all(data, bytes);
}
int64_t probe_int8(int64_t rounds, int32_t* sink) {
  return int8_dots(rounds, sink);
}
int64_t probe_f32(int64_t rounds, int32_t* sink) {
  return float_fmas(rounds, sink);
}

}  // namespace sluice::kernels::avx2
