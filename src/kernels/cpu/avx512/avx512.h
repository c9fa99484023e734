// The ops compiled for this processor; registry.cpp joins them into a table.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::avx512 {

void rms_norm(const RmsNormArgs& args, int thread, int threads);
void rope(const RopeArgs& args, int thread, int threads);
void add(const AddArgs& args, int thread, int threads);
void silu_mul(const SiluMulArgs& args, int thread, int threads);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);
void linear(const LinearArgs& args, int thread, int threads);
void kv_store(const KvStoreArgs& args, int thread, int threads);
void attention(const AttentionArgs& args, int thread, int threads);
void attention_join(const AttentionArgs& args, int thread, int threads);
void latent_attention(const LatentAttentionArgs& args, int thread, int threads);
int32_t argmax(const float* logits, int64_t count);
double logsumexp(const float* logits, int64_t count);
void softmax(const float* logits, int64_t count, float inverse_temperature, float* out);
void top_k(const float* logits, int64_t count, int64_t k, ScoredId* out);

// Probes: read everything once; keep the int8 or float units busy and return the operations done.
int64_t probe_read(const std::byte* data, int64_t bytes);
int64_t probe_int8(int64_t rounds, int32_t* sink);
int64_t probe_f32(int64_t rounds, int32_t* sink);

}  // namespace sluice::kernels::avx512
