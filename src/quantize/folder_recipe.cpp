#include "quantize/folder_recipe.h"

#include <algorithm>

namespace sluice::quantize {
namespace {

struct NameRow {
  std::string_view name;
  FolderType type;
};
constexpr NameRow kNames[] = {{"bf16", FolderType::kAsStored},
                              {"int4", FolderType::kInt4},
                              {"w8a8", FolderType::kInt8},
                              {"fp8", FolderType::kFp8},
                              {"awq", FolderType::kAwq},
                              {"gptq", FolderType::kGptq},
                              {"gptq-act-order", FolderType::kGptqActOrder},
                              {"mxfp4", FolderType::kMxfp4},
                              {"f16", FolderType::kF16},
                              {"f32", FolderType::kF32}};
constexpr FolderType kAlone[] = {FolderType::kFp8, FolderType::kAwq, FolderType::kGptq,
                                 FolderType::kGptqActOrder};
constexpr FolderType kSynthetic[] = {FolderType::kAwq,          FolderType::kGptq,
                                     FolderType::kGptqActOrder, FolderType::kMxfp4,
                                     FolderType::kF16,          FolderType::kF32};
constexpr int64_t kInt4Groups[] = {128, 64, 32};
constexpr int64_t kInt8Columns = 4;
constexpr int64_t kFp8Columns = 128;
constexpr int64_t kWordCodes = 8, kWordGroup = 128;  // of AWQ and GPTQ
constexpr int64_t kMxfp4Columns = 32;

const NameRow* find_row(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const NameRow& row : kNames)
    if (row.name == lower) return &row;
  return nullptr;
}

}  // namespace

std::string folder_type_names() {
  std::string names;
  for (const NameRow& row : kNames)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

core::Result<FolderType> find_folder_type(std::string_view name) {
  if (const NameRow* row = find_row(name)) return row->type;
  return core::unsupported("type '{}' of a folder is not known; known: {}", name,
                           folder_type_names());
}

bool is_folder_type(std::string_view name) {
  const NameRow* row = find_row(name);
  return row != nullptr && !is_plain(row->type);
}

std::string_view name_of(FolderType type) {
  return kNames[static_cast<size_t>(type)].name;
}

bool is_plain(FolderType type) {
  return type == FolderType::kAsStored || type == FolderType::kF16 || type == FolderType::kF32;
}

FolderRecipe folder_recipe(FolderType type) {
  FolderRecipe recipe;
  recipe.modules.fill(type);
  if (is_plain(type)) return recipe;
  recipe.modules[static_cast<size_t>(Module::kEmbedding)] = FolderType::kAsStored;
  recipe.modules[static_cast<size_t>(Module::kOutput)] = FolderType::kAsStored;
  return recipe;
}

core::Result<void> check(const FolderRecipe& recipe) {
  const auto has = [&](FolderType type) {
    return std::find(recipe.modules.begin(), recipe.modules.end(), type) != recipe.modules.end();
  };
  for (const FolderType alone : kAlone)
    for (const NameRow& other : kNames)
      if (has(alone) && has(other.type) && other.type != alone && !is_plain(other.type))
        return core::unsupported("{} beside {}: no configuration says both", name_of(alone),
                                 other.name);
  if (!is_plain(recipe.modules[static_cast<size_t>(Module::kEmbedding)]))
    return core::unsupported("the embedding of a folder stays as it is stored");
  return {};
}

core::Result<void> check_encodes(const FolderRecipe& recipe) {
  for (const FolderType type : kSynthetic)
    if (std::find(recipe.modules.begin(), recipe.modules.end(), type) != recipe.modules.end())
      return core::unsupported(
          "type '{}' is written of random models alone; others: int4, w8a8, fp8", name_of(type));
  return check(recipe);
}

FolderChoice choose_folder_type(const FolderRecipe& recipe, std::string_view tensor,
                                const core::TensorView& view) {
  const auto module = module_of(tensor, view);
  if (!module || tensor.find(".nextn.") != std::string_view::npos) return {};
  FolderChoice choice;
  choice.wanted = choice.type = recipe.modules[static_cast<size_t>(*module)];
  const int64_t columns = view.columns();
  if (choice.type == FolderType::kInt4) {
    for (const int64_t group : kInt4Groups)
      if (choice.group == 0 && columns % group == 0) choice.group = group;
    if (choice.group == 0) choice.type = FolderType::kInt8;
  }
  if ((choice.type == FolderType::kInt8 && columns % kInt8Columns != 0) ||
      (choice.type == FolderType::kFp8 && columns % kFp8Columns != 0) ||
      (choice.type == FolderType::kMxfp4 && columns % kMxfp4Columns != 0))
    choice.type = FolderType::kAsStored;
  if (choice.type == FolderType::kAwq || choice.type == FolderType::kGptq ||
      choice.type == FolderType::kGptqActOrder) {
    if (columns % kWordGroup == 0 && view.rows() % kWordCodes == 0)
      choice.group = kWordGroup;
    else
      choice.type = FolderType::kAsStored;
  }
  return choice;
}

}  // namespace sluice::quantize
