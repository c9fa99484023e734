// Names of tensors: a module of Hugging Face's models, and GGUF's word for it.
#include <optional>

#include "formats/hugging_face.h"

namespace sluice::formats {
namespace {

struct ModuleName {
  std::string_view stored;
  std::string_view tensor;
};

constexpr ModuleName kModelModules[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
};
constexpr ModuleName kLayerModules[] = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"enorm", "nextn.enorm"},
    {"hnorm", "nextn.hnorm"},
    {"eh_proj", "nextn.eh_proj"},
    {"embed_tokens", "nextn.embed_tokens"},
    {"shared_head.norm", "nextn.shared_head_norm"},
    {"shared_head.head", "nextn.shared_head_head"},
};
constexpr ModuleName kExpertModules[] = {
    {"gate_proj", "ffn_gate_exps"},
    {"up_proj", "ffn_up_exps"},
    {"down_proj", "ffn_down_exps"},
};
constexpr std::string_view kStoredRouterBias = "mlp.gate.e_score_correction_bias";
constexpr std::string_view kRouterBias = "exp_probs_b.bias";
constexpr std::string_view kStoredLayers = "model.layers.";
constexpr std::string_view kLayers = "blk.";
constexpr std::string_view kExperts = "mlp.experts.";

std::optional<std::string_view> tensor_of(std::span<const ModuleName> table,
                                          std::string_view stored) {
  for (const ModuleName& row : table)
    if (row.stored == stored) return row.tensor;
  return std::nullopt;
}
std::optional<std::string_view> stored_of(std::span<const ModuleName> table,
                                          std::string_view tensor) {
  for (const ModuleName& row : table)
    if (row.tensor == tensor) return row.stored;
  return std::nullopt;
}

// "12.rest" → "12" and "rest".
struct Numbered {
  std::string_view number;
  std::string_view rest;
};
std::optional<Numbered> split_number(std::string_view text) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot == 0) return std::nullopt;
  const std::string_view number = text.substr(0, dot);
  if (number.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return Numbered{number, text.substr(dot + 1)};
}

// "module.suffix", the suffix without a dot.
struct Suffixed {
  std::string_view module;
  std::string_view suffix;
};
std::optional<Suffixed> split_suffix(std::string_view text) {
  const size_t dot = text.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  return Suffixed{text.substr(0, dot), text.substr(dot + 1)};
}

// Of a layer, without "blk.N.".
std::optional<std::string> layer_tensor(std::string_view stored) {
  if (stored == kStoredRouterBias) return std::string(kRouterBias);
  const auto parts = split_suffix(stored);
  if (!parts) return std::nullopt;
  if (parts->module.starts_with(kExperts)) {
    const auto expert = split_number(parts->module.substr(kExperts.size()));
    const auto tensor = expert ? tensor_of(kExpertModules, expert->rest) : std::nullopt;
    if (!tensor) return std::nullopt;
    return fmt::format("{}.{}.{}", *tensor, expert->number, parts->suffix);
  }
  const auto tensor = tensor_of(kLayerModules, parts->module);
  if (!tensor) return std::nullopt;
  return fmt::format("{}.{}", *tensor, parts->suffix);
}

// Of a layer, without "model.layers.N.".
std::optional<std::string> stored_layer_tensor(std::string_view tensor) {
  if (tensor == kRouterBias) return std::string(kStoredRouterBias);
  const auto parts = split_suffix(tensor);
  if (!parts) return std::nullopt;
  if (const auto stored = stored_of(kLayerModules, parts->module))
    return fmt::format("{}.{}", *stored, parts->suffix);
  const auto expert = split_suffix(parts->module);
  const auto stored = expert ? stored_of(kExpertModules, expert->module) : std::nullopt;
  if (!stored) return std::nullopt;
  return fmt::format("{}{}.{}.{}", kExperts, expert->suffix, *stored, parts->suffix);
}

}  // namespace

std::string gguf_tensor_name(std::string_view stored) {
  if (stored.starts_with(kStoredLayers)) {
    const auto layer = split_number(stored.substr(kStoredLayers.size()));
    const auto tensor = layer ? layer_tensor(layer->rest) : std::nullopt;
    if (tensor) return fmt::format("{}{}.{}", kLayers, layer->number, *tensor);
  } else if (const auto parts = split_suffix(stored)) {
    if (const auto tensor = tensor_of(kModelModules, parts->module))
      return fmt::format("{}.{}", *tensor, parts->suffix);
  }
  return std::string(stored);
}

std::string hugging_face_tensor_name(std::string_view tensor) {
  if (tensor.starts_with(kLayers)) {
    const auto layer = split_number(tensor.substr(kLayers.size()));
    const auto stored = layer ? stored_layer_tensor(layer->rest) : std::nullopt;
    if (stored) return fmt::format("{}{}.{}", kStoredLayers, layer->number, *stored);
  } else if (const auto parts = split_suffix(tensor)) {
    if (const auto stored = stored_of(kModelModules, parts->module))
      return fmt::format("{}.{}", *stored, parts->suffix);
  }
  return std::string(tensor);
}

}  // namespace sluice::formats
