#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx2/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/latent_attention.inc"

namespace sluice::kernels::avx2 {

void latent_attention(const LatentAttentionArgs& args, int thread, int threads) {
  latent_attention_items(args, thread, threads);
}

}  // namespace sluice::kernels::avx2
