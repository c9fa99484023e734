#include "plan/geometry.h"

#include <numeric>

namespace sluice::plan {
namespace {

constexpr Geometry kGeometries[] = {
    {.name = "smollm2-135m",
     .architecture = "llama",
     .layers = 30,
     .hidden = 576,
     .heads = 9,
     .kv_heads = 3,
     .head_dim = 64,
     .ffn = 1536,
     .vocab = 49152,
     .context = 8192,
     .rope_base = 100000,
     .norm_epsilon = 1e-5f,
     .tied_embeddings = true},
    {.name = "llama3-8b",
     .architecture = "llama",
     .layers = 32,
     .hidden = 4096,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn = 14336,
     .vocab = 128256,
     .context = 131072,
     .rope_base = 500000,
     .norm_epsilon = 1e-5f},
    {.name = "llama3-70b",
     .architecture = "llama",
     .layers = 80,
     .hidden = 8192,
     .heads = 64,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn = 28672,
     .vocab = 128256,
     .context = 131072,
     .rope_base = 500000,
     .norm_epsilon = 1e-5f},
    {.name = "qwen2-1.5b",
     .architecture = "qwen2",
     .layers = 28,
     .hidden = 1536,
     .heads = 12,
     .kv_heads = 2,
     .head_dim = 128,
     .ffn = 8960,
     .vocab = 151936,
     .context = 131072,
     .rope_base = 1000000,
     .tied_embeddings = true},
    {.name = "qwen2-7b",
     .architecture = "qwen2",
     .layers = 28,
     .hidden = 3584,
     .heads = 28,
     .kv_heads = 4,
     .head_dim = 128,
     .ffn = 18944,
     .vocab = 152064,
     .context = 131072,
     .rope_base = 1000000},
    {.name = "qwen2-14b",
     .architecture = "qwen2",
     .layers = 48,
     .hidden = 5120,
     .heads = 40,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn = 13824,
     .vocab = 152064,
     .context = 131072,
     .rope_base = 1000000},
    {.name = "qwen2-32b",
     .architecture = "qwen2",
     .layers = 64,
     .hidden = 5120,
     .heads = 40,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn = 27648,
     .vocab = 152064,
     .context = 131072,
     .rope_base = 1000000},
    {.name = "qwen3-8b",
     .architecture = "qwen3",
     .layers = 36,
     .hidden = 4096,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn = 12288,
     .vocab = 151936,
     .context = 40960,
     .rope_base = 1000000},
    {.name = "deepseek-v3",
     .architecture = "deepseek2",
     .layers = 61,
     .hidden = 7168,
     .heads = 128,
     .kv_heads = 128,
     .head_dim = 192,
     .ffn = 18432,
     .vocab = 129280,
     .context = 163840,
     .rope_factor = 40,
     .latent = {.q_rank = 1536, .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128},
     .experts = {.dense_layers = 3,
                 .count = 256,
                 .used = 8,
                 .shared = 1,
                 .ffn = 2048,
                 .groups = 8,
                 .groups_used = 4,
                 .scale = 2.5f}},
    {.name = "kimi-k2",
     .architecture = "deepseek2",
     .layers = 61,
     .hidden = 7168,
     .heads = 64,
     .kv_heads = 64,
     .head_dim = 192,
     .ffn = 18432,
     .vocab = 163840,
     .context = 131072,
     .rope_base = 50000,
     .rope_factor = 32,
     .latent = {.q_rank = 1536, .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128},
     .experts = {.dense_layers = 1,
                 .count = 384,
                 .used = 8,
                 .shared = 1,
                 .ffn = 2048,
                 .groups = 1,
                 .groups_used = 1,
                 .scale = 2.827f}},
    {.name = "gpt3-175b",
     .architecture = "gpt3",
     .layers = 96,
     .hidden = 12288,
     .heads = 96,
     .kv_heads = 96,
     .head_dim = 128,
     .ffn = 49152,
     .vocab = 50257,
     .context = 2048,
     .tied_embeddings = true,
     .ffn_kind = FfnKind::kPlain},
};

// Builds the list of tensors of one model.
class Lister {
 public:
  explicit Lister(const Geometry& geometry) : g_(geometry) {}

  std::vector<GeometryTensor> list() {
    add("token_embd.weight", {g_.vocab, g_.hidden});
    for (int32_t layer = 0; layer < g_.layers + g_.draft_layers; ++layer) {
      prefix_ = fmt::format("blk.{}.", layer);
      if (layer >= g_.layers) add_draft();
      add_norm("attn_norm.weight", g_.hidden);
      g_.has_latent_attention() ? add_latent_attention() : add_attention();
      add_norm("ffn_norm.weight", g_.hidden);
      layer < g_.layers - g_.expert_layers() ? add_ffn() : add_experts();
    }
    prefix_.clear();
    add_norm("output_norm.weight", g_.hidden);
    if (!g_.tied_embeddings) add("output.weight", {g_.vocab, g_.hidden});
    return std::move(tensors_);
  }

 private:
  void add(std::string_view name, std::vector<int64_t> shape) {
    const std::string full = prefix_ + std::string(name);
    tensors_.push_back({full, std::move(shape), part_of(full)});
  }
  void add_norm(std::string_view name, int64_t values) { add(name, {values}); }

  void add_attention() {
    const int64_t q = int64_t{g_.heads} * g_.head_dim, kv = int64_t{g_.kv_heads} * g_.head_dim;
    add("attn_q.weight", {q, g_.hidden});
    add("attn_k.weight", {kv, g_.hidden});
    add("attn_v.weight", {kv, g_.hidden});
    if (g_.architecture == "qwen2") {
      add("attn_q.bias", {q});
      add("attn_k.bias", {kv});
      add("attn_v.bias", {kv});
    }
    if (g_.architecture.starts_with("qwen3")) {
      add_norm("attn_q_norm.weight", g_.head_dim);
      add_norm("attn_k_norm.weight", g_.head_dim);
    }
    add("attn_output.weight", {g_.hidden, q});
  }

  void add_latent_attention() {
    const LatentAttention& l = g_.latent;
    add_norm("attn_q_a_norm.weight", l.q_rank);
    add_norm("attn_kv_a_norm.weight", l.kv_rank);
    add("attn_q_a.weight", {l.q_rank, g_.hidden});
    add("attn_q_b.weight", {int64_t{g_.heads} * (l.nope_dim + l.rope_dim), l.q_rank});
    add("attn_kv_a_mqa.weight", {l.kv_rank + l.rope_dim, g_.hidden});
    add("attn_k_b.weight", {g_.heads, l.kv_rank, l.nope_dim});
    add("attn_v_b.weight", {g_.heads, l.value_dim, l.kv_rank});
    add("attn_output.weight", {g_.hidden, int64_t{g_.heads} * l.value_dim});
  }

  // What stands before a draft layer, and its norm behind it.
  void add_draft() {
    add_norm("nextn.enorm.weight", g_.hidden);
    add_norm("nextn.hnorm.weight", g_.hidden);
    add("nextn.eh_proj.weight", {g_.hidden, int64_t{2} * g_.hidden});
    add_norm("nextn.shared_head_norm.weight", g_.hidden);
  }

  void add_ffn() {
    if (g_.ffn_kind == FfnKind::kGated) add("ffn_gate.weight", {g_.ffn, g_.hidden});
    add("ffn_up.weight", {g_.ffn, g_.hidden});
    add("ffn_down.weight", {g_.hidden, g_.ffn});
  }

  void add_experts() {
    const Experts& e = g_.experts;
    add("ffn_gate_inp.weight", {e.count, g_.hidden});
    add("exp_probs_b.bias", {e.count});
    add("ffn_gate_exps.weight", {e.count, e.ffn, g_.hidden});
    add("ffn_up_exps.weight", {e.count, e.ffn, g_.hidden});
    add("ffn_down_exps.weight", {e.count, g_.hidden, e.ffn});
    if (e.shared == 0) return;
    const int64_t shared = int64_t{e.ffn} * e.shared;
    add("ffn_gate_shexp.weight", {shared, g_.hidden});
    add("ffn_up_shexp.weight", {shared, g_.hidden});
    add("ffn_down_shexp.weight", {g_.hidden, shared});
  }

  const Geometry& g_;
  std::string prefix_;
  std::vector<GeometryTensor> tensors_;
};

}  // namespace

int64_t Geometry::kv_token_values() const {
  if (has_latent_attention())
    return int64_t{layers + draft_layers} * (latent.kv_rank + latent.rope_dim);
  return int64_t{2} * (layers + draft_layers) * kv_heads * head_dim;
}

std::span<const Geometry> geometries() {
  return kGeometries;
}

core::Result<Geometry> find_geometry(std::string_view name) {
  std::string known;
  for (const Geometry& g : kGeometries) {
    if (g.name == name) return g;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", g.name);
  }
  return core::unsupported("geometry '{}' is not known; known: {}", name, known);
}

std::string_view name_of(Part part) {
  constexpr std::string_view kNames[kPartCount] = {"embedding", "attention",       "dense ffn",
                                                   "router",    "shared experts",  "experts",
                                                   "output",    "norms and biases"};
  return kNames[static_cast<size_t>(part)];
}

Part part_of(std::string_view tensor) {
  const auto contains = [&](std::string_view text) {
    return tensor.find(text) != std::string_view::npos;
  };
  if (contains("norm.") || tensor.ends_with(".bias") || tensor == "rope_freqs.weight")
    return Part::kVectors;
  if (tensor.starts_with("token_embd.")) return Part::kEmbedding;
  if (tensor.starts_with("output.")) return Part::kOutput;
  if (contains("ffn_gate_inp.")) return Part::kRouter;
  if (contains("_exps.")) return Part::kExperts;
  if (contains("_shexp.")) return Part::kSharedExperts;
  if (contains("ffn_")) return Part::kDenseFfn;
  return Part::kAttention;
}

int64_t GeometryTensor::values() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::vector<GeometryTensor> tensors_of(const Geometry& geometry) {
  return Lister(geometry).list();
}

int64_t PartValues::total() const {
  return std::accumulate(std::begin(of), std::end(of), int64_t{0});
}

PartValues part_values(const Geometry& geometry) {
  PartValues values;
  for (const GeometryTensor& t : tensors_of(geometry))
    values.of[static_cast<size_t>(t.part)] += t.values();
  return values;
}

}  // namespace sluice::plan
