// A model's weights as the kernels want them, and the checkpoint names they came from.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "formats/problems.h"
#include "kernels/device.h"
#include "kernels/ops.h"
#include "model/cards.h"
#include "model/placement.h"
#include "model/spec.h"

namespace sluice::model {

// (outputs, inputs). `input_order` (inputs): what lies at its inputs 0, 1, … is to be multiplied
// with values input_order[0], input_order[1], … of x; null: with 0, 1, …. Gate and up of a routed
// expert have one.
struct Matrix : kernels::PackedWeights {
  const int32_t* input_order = nullptr;
};
// The values of a row x in the order of the matrix's inputs: (inputs).
void copy_in_order(const float* x, const Matrix& matrix, float* out);

using Vector = const float*;  // null where the model has none

struct LayerWeights {
  Vector attention_norm = nullptr;  // (hidden)
  Matrix q;                         // (heads · head_dim, hidden)
  Matrix k;                         // (kv_heads · head_dim, hidden)
  Matrix v;                         // (kv_heads · head_dim, hidden)
  Vector q_bias = nullptr;
  Vector k_bias = nullptr;
  Vector v_bias = nullptr;
  Vector q_norm = nullptr;  // (head_dim), over each head before RoPE
  Vector k_norm = nullptr;

  // Latent attention; queries without a rank of their own are `q`. Of the matrix from the latent
  // vector to a head's keys and values, absorbed: the keys' part transposed.
  Matrix q_a;                  // (query rank, hidden)
  Vector q_a_norm = nullptr;   // (query rank)
  Matrix q_b;                  // (heads · head_dim, query rank)
  Matrix kv_a;                 // (latent rank + rope dims, hidden)
  Vector kv_a_norm = nullptr;  // (latent rank)
  std::vector<Matrix> k_b;     // by head: (latent rank, nope dims)
  std::vector<Matrix> v_b;     // by head: (value dims, latent rank)

  Matrix attention_output;  // (hidden, heads · head_dim or value dims)
  Vector attention_output_bias = nullptr;

  Vector ffn_norm = nullptr;  // (hidden)
  Matrix gate;                // (ffn, hidden)
  Matrix up;                  // (ffn, hidden)
  Matrix down;                // (hidden, ffn)

  Matrix router;                    // (experts, hidden)
  Vector router_bias = nullptr;     // (experts), for the choice alone
  std::vector<Matrix> expert_gate;  // by expert: (expert ffn, hidden)
  std::vector<Matrix> expert_up;    // by expert: (expert ffn, hidden)
  std::vector<Matrix> expert_down;  // by expert: (hidden, expert ffn)
  Matrix shared_gate;               // (shared ffn, hidden)
  Matrix shared_up;                 // (shared ffn, hidden)
  Matrix shared_down;               // (hidden, shared ffn)
};

// A layer of multi-token prediction (DeepSeek-AI 2024, arXiv 2412.19437, §2.2). It shares the
// model's embedding and output matrix.
struct DraftWeights {
  Vector embedding_norm = nullptr;  // (hidden)
  Vector hidden_norm = nullptr;     // (hidden)
  Matrix join;                      // (hidden, 2 · hidden): embedding, then hidden state
  LayerWeights layer;
  Vector output_norm = nullptr;  // (hidden)
};

// Where a packed matrix came from.
struct MatrixSource {
  std::string tensor;  // name in the checkpoint
  const Matrix* matrix = nullptr;
  int64_t file_bytes = 0;
  double token_share = 1;  // of tokens that need it: below 1 for experts, 0 for drafts
};

struct Weights {
  Weights() = default;
  Weights(const Weights&) = delete;  // `sources` points into it
  Weights& operator=(const Weights&) = delete;

  core::TensorView embedding;  // (vocab, hidden), in the checkpoint's own bytes
  std::vector<LayerWeights> layers;
  std::vector<DraftWeights> drafts;  // one where the checkpoint has it and it was asked for
  Vector output_norm = nullptr;      // (hidden)
  Matrix output;                     // (vocab, hidden)
  Vector rope_factors = nullptr;     // (rope dims / 2) divisors of the frequencies

  std::vector<MatrixSource> sources;
  int64_t vector_file_bytes = 0;
  core::Buffer matrices;                        // what every Matrix points into
  core::Buffer vectors;                         // what every Vector points into
  std::set<std::vector<int32_t>> input_orders;  // what some Matrix points into

  Placement placement;  // of a model on a device

  // Of a model on a device, where the matrices of a list lie at equal distances: these instead of
  // the two above, the embedding among the matrices.
  kernels::DeviceBuffer device_matrices;
  kernels::DeviceBuffer device_vectors;
  bool is_on_host(const Matrix& matrix) const {
    return matrix.data >= matrices.data() && matrix.data < matrices.data() + matrices.bytes();
  }
  int64_t bytes() const {
    return matrices.bytes() + vectors.bytes() + device_matrices.bytes() + device_vectors.bytes();
  }
};

enum class DraftLayers : uint8_t { kLeave, kLoad };

// Everything in a checkpoint, whole or salvaged, that no model can be loaded with, but what is
// known of its files and its configuration already. Where the metadata make no Spec, only scales
// can be looked at.
void find_faults(const formats::Checkpoint& checkpoint, formats::Problems* problems);

struct WeightLoader {
  const formats::Checkpoint& checkpoint;
  const Spec& spec;  // the whole model's
  const kernels::Ops& ops;
  core::ThreadPool& pool;
  core::DType decoded_type;           // of matrices that cannot stay in their blocks
  DraftLayers drafts;                 // the first, where the checkpoint has it
  kernels::Device* device = nullptr;  // where the weights go; null: the processor's memory
  CardShare share{};                  // of the weights, with a device
  // With a device; none: as many experts on it as fit. Of a share it is there before load().
  const std::optional<Placement>& placement;
  int64_t kv_bytes = 0;         // of the device, which hot experts leave
  int64_t host_bytes = 0;       // of the host, for its experts; 0: no limit
  const MachineSpeeds& speeds;  // for what is said of the placement
  const std::function<void(const std::string& line)>& placed;                    // may be empty
  const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress;  // may be empty

  // Packs every matrix in parallel and gives the mapped pages it came from back to the system. An
  // Error lists the tensors that are missing, misshapen or unknown to the architecture.
  core::Result<void> load(Weights* weights) const;

  // What the device of a share will hold at most, with its experts. An Error as load()'s.
  core::Result<PlacementSizes> measure() const;
};

}  // namespace sluice::model
