#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/logits.inc"

namespace sluice::kernels::avx512 {

int32_t argmax(const float* logits, int64_t count) {
  return argmax_of(logits, count);
}
double logsumexp(const float* logits, int64_t count) {
  return logsumexp_of(logits, count);
}
void softmax(const float* logits, int64_t count, float inverse_temperature, float* out) {
  softmax_of(logits, count, inverse_temperature, out);
}
void top_k(const float* logits, int64_t count, int64_t k, ScoredId* out) {
  top_k_of(logits, count, k, out);
}

}  // namespace sluice::kernels::avx512
