#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx2/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/attention.inc"
#include "kernels/cpu/generic/kv_store.inc"

namespace sluice::kernels::avx2 {

void kv_store(const KvStoreArgs& args, int thread, int threads) {
  kv_store_rows(args, thread, threads);
}
void attention(const AttentionArgs& args, int thread, int threads) {
  attention_items(args, thread, threads, attend, attend_part);
}
void attention_join(const AttentionArgs& args, int thread, int threads) {
  join_items(args, thread, threads);
}

}  // namespace sluice::kernels::avx2
