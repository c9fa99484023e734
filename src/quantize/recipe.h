// Which type each tensor of a model gets.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/result.h"
#include "core/tensor.h"

namespace sluice::quantize {

// The parts of a model that may have a type of their own.
enum class Module { kEmbedding, kOutput, kAttention, kFfn, kSharedExperts, kExperts };
inline constexpr int kModuleCount = 6;
std::string_view name_of(Module module);

// Of a tensor by its GGUF name; none for what stays in floats: norms, biases, routers, factors.
std::optional<Module> module_of(std::string_view tensor, const core::TensorView& view);

struct Preset;

struct Recipe {
  const Preset* preset = nullptr;
  std::array<std::optional<core::DType>, kModuleCount> modules{};  // over the preset
};

// By the names that llama-quantize uses, e.g. Q8_0, Q4_K_M; an Error lists all.
core::Result<Recipe> find_recipe(std::string_view name);
std::string recipe_names();
std::string_view name_of(const Recipe& recipe);
int32_t file_type_of(const Recipe& recipe);  // general.file_type

// What the choice may depend on.
struct ModelFacts {
  int32_t layers = 0;
  bool tied_embeddings = false;
};

struct TypeChoice {
  core::DType wanted = core::DType::kF32;
  core::DType type = core::DType::kF32;  // differs from `wanted` where its blocks do not fit a row
};
TypeChoice choose_type(const Recipe& recipe, const ModelFacts& model, std::string_view tensor,
                       const core::TensorView& view);

// `wanted`, or what takes over where rows of `columns` are no whole blocks of it: a type of smaller
// blocks as llama-quantize chooses, else F16.
core::DType fitting_type(core::DType wanted, int64_t columns);

}  // namespace sluice::quantize
