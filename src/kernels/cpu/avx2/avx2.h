// The ops compiled for this processor; registry.cpp joins them into a table.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::avx2 {

void rms_norm(const RmsNormArgs& args, int thread, int threads);
void rope(const RopeArgs& args, int thread, int threads);
void add(const AddArgs& args, int thread, int threads);
void silu_mul(const SiluMulArgs& args, int thread, int threads);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);
void linear(const LinearArgs& args, int thread, int threads);
void kv_store(const KvStoreArgs& args, int thread, int threads);
void attention(const AttentionArgs& args, int thread, int threads);
int32_t argmax(const float* logits, int64_t count);
double logsumexp(const float* logits, int64_t count);
void softmax(const float* logits, int64_t count, float inverse_temperature, float* out);
void top_k(const float* logits, int64_t count, int64_t k, ScoredId* out);

}  // namespace sluice::kernels::avx2
