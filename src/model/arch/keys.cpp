#include "model/arch/keys.h"

#include <algorithm>
#include <cmath>

namespace sluice::model {

core::Result<int32_t> Keys::count(std::string_view key) const {
  const int64_t value = TRY(metadata_.integer(name(key)));
  return within(key, value, 1);
}

core::Result<int32_t> Keys::count_or(std::string_view key, int64_t fallback) const {
  const int64_t value = TRY(metadata_.integer_or(name(key), fallback));
  return within(key, value, 0);
}

core::Result<double> Keys::positive(std::string_view key, double fallback) const {
  const double value = TRY(metadata_.number_or(name(key), fallback));
  if (!(value > 0) || !std::isfinite(value))
    return core::invalid("metadata '{}': {}, expected a number over 0", name(key), value);
  return value;
}

core::Result<std::string_view> Keys::text_or(std::string_view key,
                                             std::string_view fallback) const {
  return metadata_.text_or(name(key), fallback);
}

core::Result<bool> Keys::flag_or(std::string_view key, bool fallback) const {
  return metadata_.flag_or(name(key), fallback);
}

core::Result<int32_t> Keys::within(std::string_view key, int64_t value, int64_t least) const {
  constexpr int64_t kMost = 1 << 24;
  if (value < least || value > kMost)
    return core::invalid("metadata '{}': {}, expected {} to {}", name(key), value, least, kMost);
  return static_cast<int32_t>(value);
}

namespace {

core::Result<RopeScaling> read_scaling(const Keys& keys) {
  const auto type = TRY(keys.text_or("rope.scaling.type", "none"));
  if (type == "none" || type.empty()) return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  return core::unsupported("metadata '{}': '{}', expected none, linear, llama3 or yarn",
                           keys.name("rope.scaling.type"), type);
}

}  // namespace

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

core::Result<kernels::RopeLayout> read_rope_layout(const Keys& keys, kernels::RopeLayout usual) {
  const auto text = TRY(keys.text_or("rope.layout", ""));
  if (text.empty()) return usual;
  if (text == "half_split") return kernels::RopeLayout::kHalfSplit;
  if (text == "adjacent_pairs") return kernels::RopeLayout::kAdjacentPairs;
  return core::unsupported("metadata '{}': '{}', expected half_split or adjacent_pairs",
                           keys.name("rope.layout"), text);
}

namespace {

core::Result<void> check_experts(const Keys& keys, const ExpertSpec& experts) {
  const kernels::RouterRule& rule = experts.rule;
  if (experts.count > kernels::kExpertsMax)
    return core::unsupported("metadata '{}': {}, expected at most {}", keys.name("expert_count"),
                             experts.count, kernels::kExpertsMax);
  if (rule.groups < 1 || rule.groups_used < 1 || rule.groups_used > rule.groups ||
      experts.count % rule.groups != 0)
    return core::invalid("metadata '{}' and '{}': {} of {} groups of {} experts",
                         keys.name("expert_group_used_count"), keys.name("expert_group_count"),
                         rule.groups_used, rule.groups, experts.count);
  const int32_t eligible = experts.count / rule.groups * rule.groups_used;
  if (experts.used > eligible)
    return core::invalid("metadata '{}': {}, expected at most {}", keys.name("expert_used_count"),
                         experts.used, eligible);
  return {};
}

}  // namespace

core::Result<ExpertSpec> read_experts(const Keys& keys, const kernels::RouterRule& rule) {
  ExpertSpec experts;
  experts.count = TRY(keys.count("expert_count"));
  experts.used = TRY(keys.count("expert_used_count"));
  experts.ffn = TRY(keys.count("expert_feed_forward_length"));
  const int64_t shared = TRY(keys.count_or("expert_shared_count", 0));
  if (shared * experts.ffn > kernels::kLinearInputsMax)
    return core::unsupported("metadata '{}': {} of {}, expected at most {} together",
                             keys.name("expert_shared_count"), shared, experts.ffn,
                             kernels::kLinearInputsMax);
  experts.shared_ffn = static_cast<int32_t>(shared * experts.ffn);
  experts.leading_dense = TRY(keys.count_or("leading_dense_block_count", 0));
  experts.rule = rule;
  experts.rule.normalized = TRY(keys.flag_or("expert_weights_norm", rule.normalized));
  const double scale = TRY(keys.positive("expert_weights_scale", double{rule.scale}));
  experts.rule.scale = static_cast<float>(scale);
  const int32_t groups = TRY(keys.count_or("expert_group_count", 1));
  const int32_t groups_used = TRY(keys.count_or("expert_group_used_count", groups));
  experts.rule.groups = std::max(groups, 1);
  experts.rule.groups_used = std::max(groups_used, 1);
  TRY(check_experts(keys, experts));
  return experts;
}

core::Result<void> check_inputs(const Keys& keys, const Spec& spec) {
  for (const auto& [key, inputs] :
       {std::pair("embedding_length", int64_t{spec.hidden}),
        {"feed_forward_length", int64_t{spec.ffn}},
        {"expert_feed_forward_length", int64_t{spec.experts.ffn}},
        {"attention.q_lora_rank", int64_t{spec.latent.query_rank}},
        {"attention.head_count", std::max(spec.q_columns(), spec.attended_columns())}})
    if (inputs > kernels::kLinearInputsMax)
      return core::unsupported("metadata '{}': a matrix of {} inputs, expected at most {}",
                               keys.name(key), inputs, kernels::kLinearInputsMax);
  return {};
}

}  // namespace sluice::model
