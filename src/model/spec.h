// An architecture as data. The forward pass reads this and never a model's name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "formats/checkpoint.h"
#include "formats/problems.h"
#include "kernels/ops.h"

namespace sluice::model {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn };

struct RopeSpec {
  int32_t dims = 0;  // of each head, from the first; the others do not turn
  double base = 10000.0;
  kernels::RopeLayout layout = kernels::RopeLayout::kHalfSplit;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;                 // the context is stretched by this
  double original_context = 0;       // tokens before stretching (llama3, YaRN)
  double low_frequency_factor = 1;   // llama3
  double high_frequency_factor = 4;  // llama3
  double beta_fast = 32;             // YaRN: rotations over the original context
  double beta_slow = 1;              // YaRN
  double extrapolation = 1;          // YaRN: share of the unstretched frequencies that is mixed in
  double magnitude = 1;  // cosines and sines are multiplied by this (YaRN's attention factor)
};

// Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, §2.1). Keys and values of all
// heads come from one latent vector a token; a head has nope_dims that do not turn and, behind
// them, rope.dims that do, whose key all heads share.
struct LatentSpec {
  int32_t rank = 0;        // of the latent vector; 0: grouped-query attention
  int32_t query_rank = 0;  // 0: queries are one product of the hidden state
  int32_t nope_dims = 0;
  int32_t value_dims = 0;
};

// Layers whose feed-forward part is a choice of experts.
struct ExpertSpec {
  int32_t count = 0;  // 0: every layer is dense
  int32_t used = 0;
  int32_t ffn = 0;            // of one expert
  int32_t shared_ffn = 0;     // of the shared ones together; 0: there are none
  int32_t leading_dense = 0;  // layers before them
  kernels::RouterRule rule;
};

struct Spec {
  std::string architecture;
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  // of queries and keys
  int32_t vocab = 0;
  int32_t context_length = 0;
  float norm_epsilon = 1e-5f;
  float attention_scale = 0;  // multiplies q·k
  RopeSpec rope;
  LatentSpec latent;
  ExpertSpec experts;
  int32_t draft_layers = 0;      // behind the others: multi-token prediction
  bool tied_embeddings = false;  // the output matrix is the embedding

  int64_t q_columns() const { return int64_t{heads} * head_dim; }
  int64_t kv_columns() const { return int64_t{kv_heads} * head_dim; }
  int64_t attended_columns() const {
    return int64_t{heads} * (latent.rank > 0 ? latent.value_dims : head_dim);
  }
  bool has_experts(int32_t layer) const {
    return experts.count > 0 && layer >= experts.leading_dense;
  }
};

// From the checkpoint's metadata and the shape of its embedding. An Error names every key that is
// wrong, what was found and what is possible, or lists the architectures that are known.
core::Result<Spec> read_spec(const formats::Checkpoint& checkpoint);
// The same list goes to the problems; nothing where the values cannot be used. Of what was salvaged
// nothing is said that only follows from problems of its configuration.
std::optional<Spec> read_spec(const formats::Checkpoint& checkpoint, formats::Problems* problems);

}  // namespace sluice::model
