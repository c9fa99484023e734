#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/attention.inc"
#include "kernels/cpu/generic/kv_store.inc"

namespace sluice::kernels::avx512 {

void kv_store(const KvStoreArgs& args, int thread, int threads) {
  kv_store_rows(args, thread, threads);
}
void attention(const AttentionArgs& args, int thread, int threads) {
  attention_items(args, thread, threads, attend, attend_part);
}
void attention_join(const AttentionArgs& args, int thread, int threads) {
  join_items(args, thread, threads);
}

}  // namespace sluice::kernels::avx512
