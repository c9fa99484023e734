// Which modules of a Hugging Face folder are stored how.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"
#include "quantize/recipe.h"

namespace sluice::quantize {

enum class FolderType {
  kAsStored,  // the source's own values; FP8 becomes BF16
  kInt4,      // compressed-tensors pack-quantized: groups of 128 (64 or 32 where rows ask for it)
  kInt8,      // W8A8: compressed-tensors int-quantized, one scale a row
  kFp8,       // e4m3 with a scale for 128×128
  // Of random models alone: what gives such weights their worth is how others choose their codes.
  kAwq,           // gemm: groups of 128 with zeros
  kGptq,          // version 1: groups of 128, in order, the zero in the middle
  kGptqActOrder,  // the same, the inputs in no order of their groups
  kMxfp4,         // compressed-tensors mxfp4-pack-quantized
  kF16,           // floats, and so of every tensor that is not drawn
  kF32,
};

// By name, in upper case too; "bf16" is as stored.
core::Result<FolderType> find_folder_type(std::string_view name);
std::string folder_type_names();
bool is_folder_type(std::string_view name);
std::string_view name_of(FolderType type);
bool is_plain(FolderType type);  // floats: no quantization

struct FolderRecipe {
  std::array<FolderType, kModuleCount> modules{};
};
// The type for all linear layers of the model's layers; embedding and output stay as they are
// where it is not plain.
FolderRecipe folder_recipe(FolderType type);
// FP8, AWQ and GPTQ have a configuration of their own and join no other type.
core::Result<void> check(const FolderRecipe& recipe);
// Whether values can be encoded so, too.
core::Result<void> check_encodes(const FolderRecipe& recipe);

struct FolderChoice {
  FolderType wanted = FolderType::kAsStored;
  FolderType type = FolderType::kAsStored;  // differs from `wanted` where a row does not fit
  int64_t group = 0;                        // of kInt4, kAwq, kGptq, kGptqActOrder
};
// `tensor` by its GGUF name.
FolderChoice choose_folder_type(const FolderRecipe& recipe, std::string_view tensor,
                                const core::TensorView& view);

}  // namespace sluice::quantize
