// An architecture as data. The forward pass reads this and never a model's name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"
#include "formats/checkpoint.h"

namespace sluice::model {

// Which dimensions of a head turn together: (0,1),(2,3),… or (0,n/2),(1,n/2+1),…
enum class RopeConvention { kAdjacentPairs, kHalfSplit };

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn };

struct RopeSpec {
  int32_t dims = 0;  // of each head; the rest does not turn
  float base = 10000.0f;
  RopeConvention convention = RopeConvention::kHalfSplit;
  RopeScaling scaling = RopeScaling::kNone;
  float factor = 1.0f;              // context is stretched by this
  int32_t original_context = 0;     // tokens before stretching (llama3, YaRN)
  float low_frequency_factor = 1;   // llama3
  float high_frequency_factor = 4;  // llama3
  float beta_fast = 32;             // YaRN: rotations over the original context
  float beta_slow = 1;
  float magnitude = 1;  // YaRN: cos and sin are multiplied by this
  // Name of a tensor of dims / 2 divisors of the frequencies; empty where there is none.
  std::string factors_tensor;
};

enum class Activation { kSilu };

struct Spec {
  std::string architecture;
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab = 0;
  int32_t context_length = 0;
  float norm_epsilon = 1e-5f;
  float attention_scale = 0;  // multiplies q·k
  Activation activation = Activation::kSilu;
  RopeSpec rope;
  bool tied_embeddings = false;  // the output matrix is the embedding
  bool qkv_biases = false;
  bool qk_norms = false;  // RMSNorm over each head of q and k, before RoPE

  int64_t q_columns() const { return int64_t{heads} * head_dim; }
  int64_t kv_columns() const { return int64_t{kv_heads} * head_dim; }
};

// From the checkpoint's metadata (and the presence of optional tensors); an Error names the key, or
// the architectures that are known.
core::Result<Spec> read_spec(const formats::Checkpoint& checkpoint);

}  // namespace sluice::model
