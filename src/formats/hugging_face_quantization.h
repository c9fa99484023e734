// quantization_config of a config.json: whether its weights can be read here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "formats/problems.h"

namespace sluice::formats {

// Of the metadata: quantization_config's quant_method, where that can be read here.
inline constexpr std::string_view kQuantMethodKey = "sluice.quant_method";

struct StoredQuantization {
  std::string method{};            // empty: none, or one with problems
  std::string_view int4_layout{};  // of tensors "qweight": kAwqLayout, kGptqLayout, or none
  uint32_t int4_zero_offset = 0;   // added to their zeros: GPTQ's first version stores them less 1
  bool has_zeros = false;          // every INT4 matrix, by the configuration
  bool has_input_groups = false;   // the same
};

// Which module is stored how, the tensors say themselves; here everything that this program cannot
// compute goes to the problems.
StoredQuantization read_quantization(std::string_view config_json, Problems* problems);

}  // namespace sluice::formats
