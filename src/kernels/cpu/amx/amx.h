// Linear layers on the tile unit (AMX); registry.cpp joins them with the ops of avx512.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::amx {

// Asks the kernel for this process's tile registers, which no thread may touch before; false where
// it refuses. Any number of calls.
bool request_tiles();

// F16 and BF16 weights become bf16 tiles (F16 loses three bits), I8_B32 int8 tiles, Q4_0, Q4_1,
// Q4_K, I4_B32 and I4_Z32 codes with whole scales (planes_layout.h), F8_B128 keeps its codes
// (f8_layout.h), F32 is as cpu::pack has it, all others are codes of 5, 6 or 8 bits with whole
// scales (wide_layout.h).
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);

// bf16 for F16, BF16 and F8_B128 weights, one scale a row for I8_B32, float for F32, planes for all
// others.
ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);

void linear(const LinearArgs& args, int thread, int threads);

// More than two groups of 16 rows: bf16 to packed bf16, planes to floats.
bool can_gate(const GatedArgs& args);
void gated(const GatedArgs& args, int thread, int threads);

// The parts of these.
void quantize_bf16(const QuantizeArgs& args, int thread, int threads);
void quantize_int8_rows(const QuantizeArgs& args, int thread, int threads);
void linear_bf16(const LinearArgs& args, int thread, int threads);
void gated_bf16(const GatedArgs& args, int thread, int threads);
void linear_int8_rows(const LinearArgs& args, int thread, int threads);
void linear_f8(const LinearArgs& args, int thread, int threads);
void pack_f8(const PackArgs& args, int thread, int threads);

// Planes of both kinds; fewer rows run on the vector unit.
constexpr int64_t kPlaneTileRowsMin = 4;
constexpr int64_t kWideTileRowsMin = 3;
void pack_planes(const PackArgs& args, int thread, int threads);
void pack_wide(const PackArgs& args, int thread, int threads);
void quantize_planes(const QuantizeArgs& args, int thread, int threads);
void linear_planes(const LinearArgs& args, int thread, int threads);
void linear_wide(const LinearArgs& args, int thread, int threads);
void gated_planes(const GatedArgs& args, int thread, int threads);
void gated_wide(const GatedArgs& args, int thread, int threads);

// bf16 for heads of whole blocks of 32, else f16. Other formats, and int8 of heads that are no
// multiple of kInt8TileDims, go to avx512.
KvFormat kv_format(int32_t head_dim);
bool reads_kv(KvFormat format, int32_t head_dim);
void kv_store(const KvStoreArgs& args, int thread, int threads);
void attention(const AttentionArgs& args, int thread, int threads);
constexpr int32_t kInt8TileDims = 64;
void attention_int8(const AttentionArgs& args, int thread, int threads);
void attention_join(const AttentionArgs& args, int thread, int threads);

// Probes: operations done in about `rounds` products of tiles.
int64_t probe_int8(int64_t rounds, int32_t* sink);
int64_t probe_bf16(int64_t rounds, int32_t* sink);

}  // namespace sluice::kernels::amx
