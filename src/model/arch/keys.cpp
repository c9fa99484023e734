#include "model/arch/keys.h"

#include <algorithm>
#include <cmath>

#include "formats/hugging_face_keys.h"

namespace sluice::model {

Keys::Keys(const Parts& parts)
    : metadata_(parts.metadata),
      architecture_(parts.architecture),
      prefix_(fmt::format("{}.", parts.architecture)),
      is_salvaged_(parts.is_salvaged),
      is_folder_(parts.metadata.has(name("rope.layout"))),
      problems_(*parts.problems) {}

std::string Keys::said(std::string_view key) const {
  const std::string_view stored = is_folder_ ? formats::config_key(architecture_, key) : "";
  return stored.empty() ? fmt::format("metadata '{}'", name(key))
                        : fmt::format("config.json: '{}'", stored);
}

void Keys::mark(std::string_view key) {
  faulty_.emplace(key);
  is_whole_ = false;
}

bool Keys::are_good(std::initializer_list<std::string_view> keys) const {
  return std::none_of(keys.begin(), keys.end(),
                      [&](std::string_view key) { return faulty_.find(key) != faulty_.end(); });
}

bool Keys::is_there(std::string_view key) {
  if (has(key)) return true;
  if (is_salvaged_) faulty_.emplace(key);
  return false;
}

template <typename T>
T Keys::value_or(core::Result<T> found, std::string_view key, T stand_in) {
  if (found.ok()) return *found;
  problems_.add("{}", found.error().message);
  mark(key);
  return stand_in;
}

int32_t Keys::count(std::string_view key) {
  if (is_there(key))
    return within(key, value_or(metadata_.integer(name(key)), key, int64_t{1}), 1, 1);
  if (!is_salvaged_) problems_.add("{} is missing", said(key));
  mark(key);
  return 1;
}

int32_t Keys::count_or(std::string_view key, int64_t fallback) {
  is_there(key);
  const int64_t value = value_or(metadata_.integer_or(name(key), fallback), key, fallback);
  return within(key, value, 0, 0);
}

double Keys::positive(std::string_view key, double fallback) {
  is_there(key);
  const double value = value_or(metadata_.number_or(name(key), fallback), key, fallback);
  if (value > 0 && std::isfinite(value)) return value;
  if (are_good({key})) refuse(key, "{}, expected a number over 0", value);
  return 1;
}

std::string_view Keys::text_or(std::string_view key, std::string_view fallback) {
  is_there(key);
  return value_or(metadata_.text_or(name(key), fallback), key, fallback);
}

bool Keys::flag_or(std::string_view key, bool fallback) {
  is_there(key);
  return value_or(metadata_.flag_or(name(key), fallback), key, fallback);
}

int32_t Keys::within(std::string_view key, int64_t value, int64_t least, int64_t stand_in) {
  constexpr int64_t kMost = 1 << 24;
  if (value >= least && value <= kMost) return static_cast<int32_t>(value);
  if (are_good({key})) refuse(key, "{}, expected {} to {}", value, least, kMost);
  return static_cast<int32_t>(stand_in);
}

namespace {

RopeScaling read_scaling(Keys& keys) {
  const auto type = keys.text_or("rope.scaling.type", "none");
  if (type == "none" || type.empty()) return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "yarn") return RopeScaling::kYarn;
  keys.refuse("rope.scaling.type", "'{}', expected none, linear, llama3 or yarn", type);
  return RopeScaling::kNone;
}

}  // namespace

RopeSpec read_rope(Keys& keys, int32_t head_dim, int32_t context_length) {
  RopeSpec rope;
  rope.dims = keys.count_or("rope.dimension_count", head_dim);
  if (keys.are_good({"rope.dimension_count", "attention.key_length"}) &&
      (rope.dims % 2 != 0 || rope.dims > head_dim || rope.dims == 0))
    keys.refuse("rope.dimension_count", "{}, expected an even number up to the head's {}",
                rope.dims, head_dim);
  rope.base = keys.positive("rope.freq_base", 10000.0);
  rope.scaling = read_scaling(keys);
  if (rope.scaling == RopeScaling::kNone) return rope;
  rope.factor = keys.positive("rope.scaling.factor", 1);
  rope.original_context = keys.positive("rope.scaling.original_context_length", context_length);
  rope.low_frequency_factor = keys.positive("rope.scaling.low_freq_factor", 1);
  rope.high_frequency_factor = keys.positive("rope.scaling.high_freq_factor", 4);
  rope.beta_fast = keys.positive("rope.scaling.yarn_beta_fast", 32);
  rope.beta_slow = keys.positive("rope.scaling.yarn_beta_slow", 1);
  rope.extrapolation = keys.positive("rope.scaling.yarn_ext_factor", 1);
  rope.magnitude = keys.positive("rope.scaling.attn_factor", 1);
  if (rope.scaling == RopeScaling::kYarn) rope.magnitude *= 1 + 0.1 * std::log(rope.factor);
  return rope;
}

kernels::RopeLayout read_rope_layout(Keys& keys, kernels::RopeLayout usual) {
  const auto text = keys.text_or("rope.layout", "");
  if (text == "half_split") return kernels::RopeLayout::kHalfSplit;
  if (text == "adjacent_pairs") return kernels::RopeLayout::kAdjacentPairs;
  if (!text.empty())
    keys.refuse("rope.layout", "'{}', expected half_split or adjacent_pairs", text);
  return usual;
}

namespace {

void check_groups(Keys& keys, const ExpertSpec& experts) {
  const kernels::RouterRule& rule = experts.rule;
  if (!keys.are_good({"expert_count", "expert_group_count", "expert_group_used_count"})) return;
  if (rule.groups_used > rule.groups || experts.count % rule.groups != 0)
    return keys.refuse("expert_group_used_count", "{} of {} groups of {} experts", rule.groups_used,
                       rule.groups, experts.count);
  const int32_t eligible = experts.count / rule.groups * rule.groups_used;
  if (keys.are_good({"expert_used_count"}) && experts.used > eligible)
    keys.refuse("expert_used_count", "{}, expected at most {}", experts.used, eligible);
}

}  // namespace

ExpertSpec read_experts(Keys& keys, const kernels::RouterRule& rule) {
  ExpertSpec experts;
  experts.count = keys.count("expert_count");
  experts.used = keys.count("expert_used_count");
  experts.ffn = keys.count("expert_feed_forward_length");
  if (experts.count > kernels::kExpertsMax)
    keys.refuse("expert_count", "{}, expected at most {}", experts.count, kernels::kExpertsMax);
  const int64_t shared = keys.count_or("expert_shared_count", 0);
  if (keys.are_good({"expert_shared_count", "expert_feed_forward_length"}) &&
      shared * experts.ffn > kernels::kLinearInputsMax)
    keys.refuse("expert_shared_count", "{} of {}, expected at most {} together", shared,
                experts.ffn, kernels::kLinearInputsMax);
  experts.shared_ffn =
      static_cast<int32_t>(keys.are_good({"expert_shared_count"}) ? shared * experts.ffn : 0);
  experts.leading_dense = keys.count_or("leading_dense_block_count", 0);
  experts.rule = rule;
  experts.rule.normalized = keys.flag_or("expert_weights_norm", rule.normalized);
  experts.rule.scale =
      static_cast<float>(keys.positive("expert_weights_scale", double{rule.scale}));
  const int32_t groups = keys.count_or("expert_group_count", 1);
  const int32_t groups_used = keys.count_or("expert_group_used_count", groups);
  experts.rule.groups = std::max(groups, 1);
  experts.rule.groups_used = std::max(groups_used, 1);
  check_groups(keys, experts);
  return experts;
}

void check_inputs(Keys& keys, const Spec& spec) {
  const bool is_head_known = keys.are_good({"attention.key_length"});
  for (const auto& [key, inputs] :
       {std::pair("embedding_length", int64_t{spec.hidden}),
        {"feed_forward_length", int64_t{spec.ffn}},
        {"expert_feed_forward_length", int64_t{spec.experts.ffn}},
        {"attention.q_lora_rank", int64_t{spec.latent.query_rank}},
        {"attention.head_count",
         is_head_known ? std::max(spec.q_columns(), spec.attended_columns()) : 0}})
    if (keys.are_good({key}) && inputs > kernels::kLinearInputsMax)
      keys.refuse(key, "a matrix of {} inputs, expected at most {}", inputs,
                  kernels::kLinearInputsMax);
}

}  // namespace sluice::model
