#include "quantize/folder_files.h"

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

ordered_json fp8_config(const std::vector<FolderModule>& modules) {
  std::vector<std::string> plain;
  for (const FolderModule& m : modules)
    if (m.choice.type == FolderType::kAsStored) plain.push_back(m.name);
  return {{"quant_method", "fp8"},
          {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},
          {"weight_block_size", {128, 128}},
          {"modules_to_not_convert", plain}};
}

ordered_json compressed_config(const std::vector<FolderModule>& modules) {
  std::map<std::pair<FolderType, int64_t>, std::set<std::string>> groups;
  std::set<std::string> ignored;
  for (const FolderModule& m : modules) {
    if (m.choice.type != FolderType::kAsStored)
      groups[{m.choice.type, m.choice.group}].insert(module_pattern(m.name));
    else
      ignored.insert(m.name == "lm_head" ? m.name : module_pattern(m.name));
  }
  ordered_json config_groups = ordered_json::object();
  std::set<FolderType> types;
  for (const auto& [kind, targets] : groups) {
    types.insert(kind.first);
    config_groups[fmt::format("group_{}", config_groups.size())] =
        kind.first == FolderType::kInt4 ? int4_group(targets, kind.second) : int8_group(targets);
  }
  const char* format = types.size() > 1                    ? "mixed-precision"
                       : types.contains(FolderType::kInt4) ? "pack-quantized"
                                                           : "int-quantized";
  return {{"quant_method", "compressed-tensors"}, {"format", format},
          {"config_groups", config_groups},       {"ignore", ignored},
          {"kv_cache_scheme", nullptr},           {"quantization_status", "compressed"}};
}

}  // namespace

core::Result<std::string> quantized_config(const std::string& config_json,
                                           const std::vector<FolderModule>& modules) {
  auto config = ordered_json::parse(config_json, nullptr, false);
  if (!config.is_object()) return core::invalid("config.json is no JSON object");
  config.erase("quantization_config");
  bool has_fp8 = false, is_quantized = false;
  for (const FolderModule& m : modules) {
    has_fp8 |= m.choice.type == FolderType::kFp8;
    is_quantized |= m.choice.type != FolderType::kAsStored;
  }
  if (is_quantized)
    config["quantization_config"] = has_fp8 ? fp8_config(modules) : compressed_config(modules);
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
