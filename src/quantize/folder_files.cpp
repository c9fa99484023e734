#include "quantize/folder_files.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

namespace sluice::quantize {
namespace {

using nlohmann::ordered_json;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

ordered_json int4_group(const std::set<std::string>& targets, int64_t group) {
  return {{"targets", targets},
          {"weights",
           {{"num_bits", 4},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", "group"},
            {"group_size", group},
            {"dynamic", false},
            {"observer", "minmax"}}},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", "pack-quantized"}};
}

ordered_json int8_group(const std::set<std::string>& targets) {
  return {{"targets", targets},
          {"weights",
           {{"num_bits", 8},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", "channel"},
            {"dynamic", false},
            {"observer", "minmax"}}},
          {"input_activations",
           {{"num_bits", 8},
            {"type", "int"},
            {"symmetric", true},
            {"strategy", "token"},
            {"dynamic", true}}},
          {"output_activations", nullptr},
          {"format", "int-quantized"}};
}

ordered_json fp8_config(const std::vector<std::string>& plain) {
  return {{"quant_method", "fp8"},
          {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},
          {"weight_block_size", {128, 128}},
          {"modules_to_not_convert", plain}};
}

ordered_json mxfp4_group(const std::set<std::string>& targets) {
  return {{"targets", targets},
          {"weights",
           {{"num_bits", 4},
            {"type", "float"},
            {"symmetric", true},
            {"strategy", "group"},
            {"group_size", 32},
            {"dynamic", false},
            {"observer", "minmax"}}},
          {"input_activations", nullptr},
          {"output_activations", nullptr},
          {"format", "mxfp4-pack-quantized"}};
}

ordered_json group_of(FolderType type, int64_t group, const std::set<std::string>& targets) {
  if (type == FolderType::kInt4) return int4_group(targets, group);
  return type == FolderType::kMxfp4 ? mxfp4_group(targets) : int8_group(targets);
}

std::string_view format_of(const std::set<FolderType>& types) {
  if (types.size() > 1) return "mixed-precision";
  if (types.contains(FolderType::kInt4)) return "pack-quantized";
  return types.contains(FolderType::kMxfp4) ? "mxfp4-pack-quantized" : "int-quantized";
}

ordered_json awq_config(const std::vector<std::string>& plain) {
  return {{"quant_method", "awq"}, {"bits", 4},         {"group_size", 128},
          {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", plain}};
}

ordered_json gptq_config(bool is_act_order) {
  return {{"quant_method", "gptq"},   {"bits", 4},   {"group_size", 128},
          {"desc_act", is_act_order}, {"sym", true}, {"checkpoint_format", "gptq"}};
}

ordered_json compressed_config(const std::vector<FolderModule>& modules) {
  std::map<std::pair<FolderType, int64_t>, std::set<std::string>> groups;
  std::set<std::string> ignored;
  for (const FolderModule& m : modules) {
    if (!is_plain(m.choice.type))
      groups[{m.choice.type, m.choice.group}].insert(module_pattern(m.name));
    else
      ignored.insert(m.name == "lm_head" ? m.name : module_pattern(m.name));
  }
  ordered_json config_groups = ordered_json::object();
  std::set<FolderType> types;
  for (const auto& [kind, targets] : groups) {
    types.insert(kind.first);
    config_groups[fmt::format("group_{}", config_groups.size())] =
        group_of(kind.first, kind.second, targets);
  }
  return {{"quant_method", "compressed-tensors"}, {"format", format_of(types)},
          {"config_groups", config_groups},       {"ignore", ignored},
          {"kv_cache_scheme", nullptr},           {"quantization_status", "compressed"}};
}

ordered_json quantization_of(const std::vector<FolderModule>& modules) {
  std::vector<std::string> plain;
  std::set<FolderType> types;
  for (const FolderModule& m : modules) {
    types.insert(m.choice.type);
    if (is_plain(m.choice.type)) plain.push_back(m.name);
  }
  if (types.contains(FolderType::kFp8)) return fp8_config(plain);
  if (types.contains(FolderType::kAwq)) return awq_config(plain);
  const bool is_act_order = types.contains(FolderType::kGptqActOrder);
  if (is_act_order || types.contains(FolderType::kGptq)) return gptq_config(is_act_order);
  return compressed_config(modules);
}

}  // namespace

core::Result<std::string> quantized_config(const std::string& config_json,
                                           const std::vector<FolderModule>& modules) {
  auto config = ordered_json::parse(config_json, nullptr, false);
  if (!config.is_object()) return core::invalid("config.json is no JSON object");
  config.erase("quantization_config");
  if (std::any_of(modules.begin(), modules.end(),
                  [](const FolderModule& m) { return !is_plain(m.choice.type); }))
    config["quantization_config"] = quantization_of(modules);
  return config.dump(2) + "\n";
}

std::string shard_index(const std::map<std::string, std::string>& shards, int64_t total_bytes) {
  return ordered_json({{"metadata", {{"total_size", total_bytes}}}, {"weight_map", shards}})
             .dump(2) +
         "\n";
}

std::string module_pattern(std::string_view module) {
  constexpr std::string_view kLayers = "model.layers.";
  if (module.starts_with(kLayers)) {
    const size_t dot = module.find('.', kLayers.size());
    if (dot != std::string_view::npos) module.remove_prefix(dot + 1);
  }
  std::string pattern = "re:.*";
  for (size_t i = 0; i < module.size(); ++i) {
    const bool begins_number = is_digit(module[i]) && i > 0 && module[i - 1] == '.';
    if (begins_number) {
      while (i + 1 < module.size() && is_digit(module[i + 1])) ++i;
      pattern += "\\d+";
    } else if (module[i] == '.') {
      pattern += "\\.";
    } else {
      pattern += module[i];
    }
  }
  return pattern + '$';
}

}  // namespace sluice::quantize
