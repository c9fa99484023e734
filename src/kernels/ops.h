// The list of ops: everything the engine computes on a device, with raw pointers and shapes.
//
// An implementation is a table `Ops` (registry.h picks one); `ref` defines what each op means.
// All matrices are row-major and contiguous unless a stride is given. Pointers of different
// arguments do not overlap unless said. Nothing here allocates, locks or calls the system.
//
// Parallel ops have the form op(args, thread, threads): the call does the share of one thread, and
// the op is done when every thread of [0, threads) made its call:
//     pool.run([&](int thread, int threads) { ops.linear(args, thread, threads); });
// Work too small to share is op(args, 0, 1) on the caller. Two kinds split differently:
//   row-wise     (embed, rms_norm, quantize, rope, add, silu_mul, kv_store, latent_store, route)
//                rows are split by core::split(rows, 1, thread, threads): calls over the same rows
//                may follow each other inside one run without a barrier;
//   cooperative  (linear, gated, attention, attention_join, latent_attention, weighted_sum, pack)
//                read what other threads wrote: start them in a new run. Those that only share an
//                input (q, k and v; gate and up) may share one run.
//
// Batch-invariant: the bits of a result row depend on that row's inputs alone; not on the other
// rows, their number, the threads, or where a prompt was cut into chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/dtype.h"
#include "kernels/attention_args.h"
#include "kernels/expert_args.h"

namespace sluice::core {
struct CpuInfo;
}

namespace sluice::kernels {

// ---- Rows of a table, norms, elementwise --------------------------------------------------------

// out[r] = the table's row ids[r], decoded. columns: whole blocks of `type`.
struct EmbedArgs {
  core::DType type = core::DType::kF32;
  const std::byte* table = nullptr;  // (any, columns) in blocks of `type`
  int64_t columns = 0;
  const int32_t* ids = nullptr;  // (rows)
  int64_t rows = 0;
  float* out = nullptr;  // (rows, columns)
};

// out[r] = x[r] / sqrt(mean(x[r]²) + epsilon) * weight   (Zhang, Sennrich 2019).
// The q and k norms of a head are the same op over (rows · heads, head_dim). out may be x.
struct RmsNormArgs {
  const float* x = nullptr;       // (rows, columns)
  const float* weight = nullptr;  // (columns)
  float epsilon = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  float* out = nullptr;  // (rows, columns)
};

enum class RopeLayout : uint8_t {
  kAdjacentPairs,  // (x[2i], x[2i+1]) turn together: GGUF files of the llama architecture
  kHalfSplit,      // (x[i], x[i + rope_dims/2]) turn together: qwen2, qwen3, Hugging Face files
};

// Turns the first rope_dims values of every head by the angle of (position, i), in place
// (Su et al. 2021). The caller's tables hold any scaling of frequencies and magnitude.
struct RopeArgs {
  float* x = nullptr;  // (rows, heads, head_dim)
  int64_t rows = 0;
  int32_t heads = 0;
  int32_t head_dim = 0;
  int32_t rope_dims = 0;               // even, at most head_dim
  const int32_t* positions = nullptr;  // (rows)
  const float* cosines = nullptr;      // (positions, rope_dims / 2)
  const float* sines = nullptr;        // (positions, rope_dims / 2)
  RopeLayout layout = RopeLayout::kHalfSplit;
};

// out = a + b. out may be a or b.
struct AddArgs {
  const float* a = nullptr;  // (rows, columns)
  const float* b = nullptr;  // (rows, columns)
  int64_t rows = 0;
  int64_t columns = 0;
  float* out = nullptr;
};

// out = silu(gate) · up, silu(x) = x / (1 + e^-x)   (Shazeer 2020). out may be gate or up.
struct SiluMulArgs {
  const float* gate = nullptr;  // (rows, columns)
  const float* up = nullptr;    // (rows, columns)
  int64_t rows = 0;
  int64_t columns = 0;
  float* out = nullptr;
};

// ---- Linear layers ------------------------------------------------------------------------------

inline constexpr int64_t kLinearInputsMax = 1 << 16;

// A weight matrix in the form that the implementation's linear() reads.
struct PackedWeights {
  core::DType type = core::DType::kF32;  // of the file
  int64_t outputs = 0;
  int64_t inputs = 0;               // whole blocks of `type`, at most kLinearInputsMax
  const std::byte* data = nullptr;  // packed_bytes(type, outputs, inputs), aligned to 64
};

struct PackArgs {
  core::DType type = core::DType::kF32;
  int64_t outputs = 0;
  int64_t inputs = 0;
  const std::byte* weights = nullptr;  // (outputs, inputs) in the file's blocks
  std::byte* packed = nullptr;         // packed_bytes(type, outputs, inputs), aligned to 64
};

// What linear() reads of its input, by the weights' type.
enum class ActivationForm : uint8_t {
  kF32,   // the float values as they are; the others want quantize_activations() first
  kInt8,  // blocks of 32 int8 with one scale each
  kBf16,  // bf16 values
  // Two int8 digits of each value and one scale a row, for
  kPlanes,      // 4-bit weights: 12 bits and a sign
  kWidePlanes,  // wider ones: 15 bits and a sign
  kInt8Rows,    // one int8 and one scale a row
};
inline constexpr size_t kActivationForms = 6;
inline constexpr int32_t kActivationBlock = 32;

// packed = x in the implementation's own form; once per input, for all linears that read it.
struct QuantizeArgs {
  ActivationForm form = ActivationForm::kInt8;  // not kF32
  const float* x = nullptr;                     // (rows, inputs)
  int64_t rows = 0;
  int64_t inputs = 0;           // kInt8 and planes: whole blocks of 32
  std::byte* packed = nullptr;  // activation_bytes(form, rows, inputs), aligned to 64
};

// The index-th of `count` parts of a thread's share: calls with each of them do the whole share.
struct Portion {
  int index = 0;
  int count = 1;
};

// y = x · W^T [+ bias] [+ residual].
struct LinearArgs {
  PackedWeights weights;
  const float* x = nullptr;             // (rows, inputs), read where the form is kF32
  const std::byte* x_packed = nullptr;  // of quantize_activations, read where it is another
  int64_t rows = 0;                     // the same number that was quantised
  const float* bias = nullptr;          // (outputs) or null
  const float* residual = nullptr;      // (rows, outputs) or null; may be y
  float* y = nullptr;                   // (rows, outputs)
  Portion portion{};
};

// silu(x · gate^T) · (x · up^T), bit for bit what linear() and silu_mul() make of it, into `packed`
// in the form kBf16 or into `y`: the one of them that is given.
struct GatedArgs {
  PackedWeights gate;
  PackedWeights up;
  const std::byte* x_packed = nullptr;  // of quantize_activations; does not overlap packed
  int64_t rows = 0;
  float* y = nullptr;           // (rows, outputs)
  std::byte* packed = nullptr;  // of as many rows and outputs; rows beyond stay as they are
};

// ---- A row of logits (one thread) ---------------------------------------------------------------

struct ScoredId {
  int32_t id = 0;
  float score = 0;
};

// ---- The table ----------------------------------------------------------------------------------

struct Ops {
  std::string_view name;  // "avx512_vnni", "avx2", "ref"
  bool (*needs)(const core::CpuInfo& cpu);

  void (*embed)(const EmbedArgs& args, int thread, int threads);
  void (*rms_norm)(const RmsNormArgs& args, int thread, int threads);
  void (*rope)(const RopeArgs& args, int thread, int threads);
  void (*add)(const AddArgs& args, int thread, int threads);
  void (*silu_mul)(const SiluMulArgs& args, int thread, int threads);

  // Bytes that pack() writes. For most types the file's, within 3 %, outputs rounded up to 16.
  // Types without a layout of their own become 8-bit codes, 8.5 bits a weight: Q2_K 3.24 times the
  // file's bytes, Q3_K 2.47, IQ4_NL 1.89, IQ4_XS 2.0, F8_B128 1.03 (amx: 1).
  // Reference: the file's bytes.
  int64_t (*packed_bytes)(core::DType type, int64_t outputs, int64_t inputs);
  void (*pack)(const PackArgs& args, int thread, int threads);
  ActivationForm (*activation_form)(core::DType weights);
  int64_t (*activation_bytes)(ActivationForm form, int64_t rows, int64_t inputs);
  void (*quantize_activations)(const QuantizeArgs& args, int thread, int threads);
  void (*linear)(const LinearArgs& args, int thread, int threads);
  // Whether gated() takes these; else linear() twice and silu_mul() do it.
  bool (*can_gate)(const GatedArgs& args);
  void (*gated)(const GatedArgs& args, int thread, int threads);

  // The 16-bit format that this table's attention reads best.
  KvFormat (*kv_format)(int32_t head_dim);
  bool (*reads_kv)(KvFormat format, int32_t head_dim);
  void (*kv_store)(const KvStoreArgs& args, int thread, int threads);
  void (*attention)(const AttentionArgs& args, int thread, int threads);
  void (*attention_join)(const AttentionArgs& args, int thread, int threads);
  void (*latent_store)(const LatentStoreArgs& args, int thread, int threads);
  void (*latent_attention)(const LatentAttentionArgs& args, int thread, int threads);

  void (*route)(const RouteArgs& args, int thread, int threads);
  void (*weighted_sum)(const WeightedSumArgs& args, int thread, int threads);

  // The index of the largest value, the smallest of equals. count > 0, no NaN.
  int32_t (*argmax)(const float* logits, int64_t count);
  // ln Σ e^logits, summed in double.
  double (*logsumexp)(const float* logits, int64_t count);
  // out = softmax(logits · inverse_temperature). out may be logits.
  void (*softmax)(const float* logits, int64_t count, float inverse_temperature, float* out);
  // The k largest by falling score, equal scores by rising id; k ≤ count, out has k.
  void (*top_k)(const float* logits, int64_t count, int64_t k, ScoredId* out);
};

// Values of `type` to float, bit for bit what the format's definition says (kernels/ref/decode.cpp;
// the same on every machine). values: whole blocks.
void decode(core::DType type, const std::byte* blocks, int64_t values, float* out);

// Bytes of one layer's keys and values of kPageTokens tokens; a multiple of 64.
int64_t kv_page_bytes(KvFormat format, int32_t kv_heads, int32_t head_dim);
int64_t kv_page_bytes(const KvLayer& kv);

}  // namespace sluice::kernels
