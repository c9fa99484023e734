// Linear layers on the tile unit (AMX); registry.cpp joins them with the ops of avx512.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::amx {

// Asks the kernel for this process's tile registers, which no thread may touch before; false where
// it refuses. Any number of calls.
bool request_tiles();

// F16 and BF16 weights become bf16 tiles (F16 loses three bits), Q4_0, Q4_1 and Q4_K codes with
// whole scales (planes_layout.h); the others as cpu::pack.
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);

// bf16 for F16 and BF16 weights, planes for 4-bit ones, the others as avx512.
ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);

// 8- and 5-bit weights give the bits of avx512.
void linear(const LinearArgs& args, int thread, int threads);

// The parts of quantize_activations and linear; of int8 those for at least kTilesRowsMin rows, with
// fewer avx512's serve.
constexpr int64_t kTilesRowsMin = 12;
void quantize_int8(const QuantizeArgs& args, int thread, int threads);
void quantize_bf16(const QuantizeArgs& args, int thread, int threads);
void linear_int8(const LinearArgs& args, int thread, int threads);
void linear_bf16(const LinearArgs& args, int thread, int threads);

// The same for planes; fewer rows than kPlaneTileRowsMin run on the vector unit.
constexpr int64_t kPlaneTileRowsMin = 8;
void pack_planes(const PackArgs& args, int thread, int threads);
void quantize_planes(const QuantizeArgs& args, int thread, int threads);
void linear_planes(const LinearArgs& args, int thread, int threads);

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
