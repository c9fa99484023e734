// Shapes of published models: what their sizes and speeds follow from, without their weights.
// Sources: the configurations that the models were published with.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::plan {

// Multi-head latent attention (DeepSeek-V2, 2024); all 0 where keys and values are stored as such.
struct LatentAttention {
  int32_t q_rank = 0;
  int32_t kv_rank = 0;
  int32_t nope_dim = 0;
  int32_t rope_dim = 0;
  int32_t value_dim = 0;
};

// A mixture of experts; all 0 where every layer has one FFN.
struct Experts {
  int32_t dense_layers = 0;  // leading layers without experts
  int32_t count = 0;         // a layer
  int32_t used = 0;          // a token
  int32_t shared = 0;
  int32_t ffn = 0;  // inner size of one
  int32_t groups = 0;
  int32_t groups_used = 0;
  float scale = 1;  // of the routed experts' weights
};

enum class FfnKind { kGated, kPlain };  // three matrices, or two

struct Geometry {
  std::string_view name;
  std::string_view architecture;  // general.architecture
  int32_t layers = 0;
  int32_t draft_layers = 0;  // behind them: multi-token prediction, of DeepSeek's kind
  int32_t hidden = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t ffn = 0;  // inner size of a dense layer
  int32_t vocab = 0;
  int32_t context = 0;
  double rope_base = 10000;
  double rope_factor = 1;  // YaRN's, over 4,096 original tokens; 1: none
  float norm_epsilon = 1e-6f;
  bool tied_embeddings = false;
  FfnKind ffn_kind = FfnKind::kGated;
  LatentAttention latent{};
  Experts experts{};

  bool has_latent_attention() const { return latent.kv_rank > 0; }
  int32_t expert_layers() const { return experts.count > 0 ? layers - experts.dense_layers : 0; }
  // Numbers that a token leaves in all layers' caches.
  int64_t kv_token_values() const;
};

std::span<const Geometry> geometries();
core::Result<Geometry> find_geometry(std::string_view name);  // an Error lists all

// The parts of a model that are placed and counted apart.
enum class Part {
  kEmbedding,
  kAttention,
  kDenseFfn,
  kRouter,
  kSharedExperts,
  kExperts,
  kOutput,
  kVectors,
};
inline constexpr int kPartCount = 8;
std::string_view name_of(Part part);
// Of a tensor by its GGUF name.
Part part_of(std::string_view tensor);

struct GeometryTensor {
  std::string name;            // GGUF's
  std::vector<int64_t> shape;  // outermost first
  Part part = Part::kVectors;

  int64_t values() const;
};

// Every tensor of the model, in the order of a file. Only gated FFNs have GGUF names here.
std::vector<GeometryTensor> tensors_of(const Geometry& geometry);

// Values of each part, of all layers.
struct PartValues {
  int64_t of[kPartCount] = {};
  int64_t total() const;
};
PartValues part_values(const Geometry& geometry);

}  // namespace sluice::plan
