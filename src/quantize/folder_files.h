// The files of a quantised folder beside its shards.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/result.h"
#include "quantize/folder_recipe.h"

namespace sluice::quantize {

// A linear layer of the model and what became of it.
struct FolderModule {
  std::string name;  // "model.layers.3.mlp.up_proj"
  FolderChoice choice;
};

// The source's config.json with a quantization_config for `modules`, or without one where none is
// quantised.
core::Result<std::string> quantized_config(const std::string& config_json,
                                           const std::vector<FolderModule>& modules);

// "model.safetensors.index.json": shard by tensor.
std::string shard_index(const std::map<std::string, std::string>& shards, int64_t total_bytes);

// The regular expression that covers a module in all layers and experts:
// "re:.*mlp\.experts\.\d+\.up_proj$".
std::string module_pattern(std::string_view module);

}  // namespace sluice::quantize
