// The plain loops that define each op; registry.cpp joins them into the table "ref".
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::ref {

void embed(const EmbedArgs& args, int thread, int threads);
void rms_norm(const RmsNormArgs& args, int thread, int threads);
void rope(const RopeArgs& args, int thread, int threads);
void add(const AddArgs& args, int thread, int threads);
void silu_mul(const SiluMulArgs& args, int thread, int threads);

// Weights stay in the file's blocks and activations in float; sums are float over short runs and
// double over these.
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);
ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);
void linear(const LinearArgs& args, int thread, int threads);

void kv_store(const KvStoreArgs& args, int thread, int threads);
void attention(const AttentionArgs& args, int thread, int threads);
void attention_join(const AttentionArgs& args, int thread, int threads);
void latent_store(const LatentStoreArgs& args, int thread, int threads);
void latent_attention(const LatentAttentionArgs& args, int thread, int threads);

void route(const RouteArgs& args, int thread, int threads);
void weighted_sum(const WeightedSumArgs& args, int thread, int threads);

int32_t argmax(const float* logits, int64_t count);
double logsumexp(const float* logits, int64_t count);
void softmax(const float* logits, int64_t count, float inverse_temperature, float* out);
void top_k(const float* logits, int64_t count, int64_t k, ScoredId* out);

}  // namespace sluice::kernels::ref
