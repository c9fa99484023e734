#include "model/arch/dense_decoder.h"

#include <cmath>
#include <limits>

namespace sluice::model {
namespace {

using formats::Metadata;

constexpr TensorRow<LayerWeights> kTensors[] = {
    {.name = "blk.{}.attn_norm.weight",
     .columns = Extent::kHidden,
     .vector = &LayerWeights::attention_norm},
    {.name = "blk.{}.attn_q.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kQ,
     .matrix = &LayerWeights::q},
    {.name = "blk.{}.attn_k.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kKv,
     .matrix = &LayerWeights::k},
    {.name = "blk.{}.attn_v.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kKv,
     .matrix = &LayerWeights::v},
    {.name = "blk.{}.attn_output.weight",
     .columns = Extent::kQ,
     .rows = Extent::kHidden,
     .matrix = &LayerWeights::attention_output},
    {.name = "blk.{}.ffn_norm.weight",
     .columns = Extent::kHidden,
     .vector = &LayerWeights::ffn_norm},
    {.name = "blk.{}.ffn_gate.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kFfn,
     .matrix = &LayerWeights::gate},
    {.name = "blk.{}.ffn_up.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kFfn,
     .matrix = &LayerWeights::up},
    {.name = "blk.{}.ffn_down.weight",
     .columns = Extent::kFfn,
     .rows = Extent::kHidden,
     .matrix = &LayerWeights::down},
};

// Reads keys that begin with the architecture's name.
class Keys {
 public:
  Keys(const Metadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(fmt::format("{}.", architecture)) {}

  std::string name(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return metadata_.has(name(key)); }

  core::Result<int32_t> count(std::string_view key) const {
    const int64_t value = TRY(metadata_.integer(name(key)));
    return within(key, value, 1);
  }
  core::Result<int32_t> count_or(std::string_view key, int64_t fallback) const {
    const int64_t value = TRY(metadata_.integer_or(name(key), fallback));
    return within(key, value, 0);
  }
  core::Result<double> positive(std::string_view key, double fallback) const {
    const double value = TRY(metadata_.number_or(name(key), fallback));
    if (!(value > 0) || !std::isfinite(value))
      return core::invalid("metadata '{}': {}, expected a number over 0", name(key), value);
    return value;
  }
  core::Result<std::string_view> text_or(std::string_view key, std::string_view fallback) const {
    return metadata_.text_or(name(key), fallback);
  }

 private:
  core::Result<int32_t> within(std::string_view key, int64_t value, int64_t least) const {
    constexpr int64_t kMost = 1 << 24;
    if (value < least || value > kMost)
      return core::invalid("metadata '{}': {}, expected {} to {}", name(key), value, least, kMost);
    return static_cast<int32_t>(value);
  }

  const Metadata& metadata_;
  std::string prefix_;
};

core::Result<RopeScaling> read_scaling(const Keys& keys) {
  const auto type = TRY(keys.text_or("rope.scaling.type", "none"));
  if (type == "none" || type.empty()) return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  return core::unsupported("metadata '{}': '{}', expected none, linear, llama3 or yarn",
                           keys.name("rope.scaling.type"), type);
}

core::Result<RopeSpec> read_rope(const Keys& keys, int32_t head_dim, int32_t context_length) {
  RopeSpec rope;
  rope.dims = TRY(keys.count_or("rope.dimension_count", head_dim));
  if (rope.dims % 2 != 0 || rope.dims > head_dim || rope.dims == 0)
    return core::invalid("metadata '{}': {}, expected an even number up to the head's {}",
                         keys.name("rope.dimension_count"), rope.dims, head_dim);
  rope.base = TRY(keys.positive("rope.freq_base", 10000.0));
  rope.scaling = TRY(read_scaling(keys));
  if (rope.scaling == RopeScaling::kNone) return rope;
  rope.factor = TRY(keys.positive("rope.scaling.factor", 1));
  rope.original_context =
      TRY(keys.positive("rope.scaling.original_context_length", context_length));
  rope.low_frequency_factor = TRY(keys.positive("rope.scaling.low_freq_factor", 1));
  rope.high_frequency_factor = TRY(keys.positive("rope.scaling.high_freq_factor", 4));
  rope.beta_fast = TRY(keys.positive("rope.scaling.yarn_beta_fast", 32));
  rope.beta_slow = TRY(keys.positive("rope.scaling.yarn_beta_slow", 1));
  rope.extrapolation = TRY(keys.positive("rope.scaling.yarn_ext_factor", 1));
  rope.magnitude = TRY(keys.positive("rope.scaling.attn_factor", 1));
  if (rope.scaling == RopeScaling::kYarn) rope.magnitude *= 1 + 0.1 * std::log(rope.factor);
  return rope;
}

core::Result<void> check_heads(const Keys& keys, const Spec& spec) {
  if (spec.heads % spec.kv_heads != 0)
    return core::invalid("metadata '{}': {} heads do not share {} key-value heads evenly",
                         keys.name("attention.head_count_kv"), spec.heads, spec.kv_heads);
  if (spec.head_dim < 8 || spec.head_dim % 8 != 0 || spec.head_dim > kernels::kHeadDimMax)
    return core::unsupported("metadata '{}': {}, expected a multiple of 8 from 8 to {}",
                             keys.name("attention.key_length"), spec.head_dim,
                             kernels::kHeadDimMax);
  const int32_t value_length = TRY(keys.count_or("attention.value_length", spec.head_dim));
  if (value_length != spec.head_dim)
    return core::unsupported("metadata '{}': {}, expected the keys' {}",
                             keys.name("attention.value_length"), value_length, spec.head_dim);
  return {};
}

// The kernels' limit on the inputs of a matrix.
core::Result<void> check_inputs(const Keys& keys, const Spec& spec) {
  for (const auto& [key, inputs] : {std::pair("embedding_length", int64_t{spec.hidden}),
                                    {"feed_forward_length", int64_t{spec.ffn}},
                                    {"attention.head_count", spec.q_columns()}})
    if (inputs > kernels::kLinearInputsMax)
      return core::unsupported("metadata '{}': a matrix of {} inputs, expected at most {}",
                               keys.name(key), inputs, kernels::kLinearInputsMax);
  return {};
}

}  // namespace

std::span<const TensorRow<LayerWeights>> dense_decoder_tensors() {
  return kTensors;
}

core::Result<Spec> read_dense_decoder(const Metadata& metadata, std::string_view architecture,
                                      kernels::RopeLayout layout) {
  const Keys keys(metadata, architecture);
  if (TRY(keys.count_or("expert_count", 0)) > 0)
    return core::unsupported("metadata '{}': a mixture of experts is not supported yet",
                             keys.name("expert_count"));
  Spec spec;
  spec.architecture = architecture;
  spec.layers = TRY(keys.count("block_count"));
  spec.hidden = TRY(keys.count("embedding_length"));
  spec.ffn = TRY(keys.count("feed_forward_length"));
  spec.context_length = TRY(keys.count("context_length"));
  spec.heads = TRY(keys.count("attention.head_count"));
  spec.kv_heads = TRY(keys.count_or("attention.head_count_kv", spec.heads));
  if (spec.kv_heads == 0)
    return core::invalid("metadata '{}': 0", keys.name("attention.head_count_kv"));
  spec.head_dim = TRY(keys.count_or("attention.key_length", spec.hidden / spec.heads));
  TRY(check_heads(keys, spec));
  TRY(check_inputs(keys, spec));
  spec.norm_epsilon =
      static_cast<float>(TRY(keys.positive("attention.layer_norm_rms_epsilon", 1e-5)));
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  spec.rope = TRY(read_rope(keys, spec.head_dim, spec.context_length));
  spec.rope.layout = layout;
  return spec;
}

}  // namespace sluice::model
