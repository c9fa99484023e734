#include "quantize/recipe.h"

#include <charconv>

namespace sluice::quantize {

using core::DType;

namespace {

// Layers that get the better type of a mix.
enum class Layers { kNone, kFirstFour, kFirstEighth, kSensitive };

}  // namespace

// One row of the table: the type of most matrices, and where the mix departs from it.
struct Preset {
  std::string_view name;
  int32_t file_type;  // general.file_type, as llama.cpp numbers them
  DType base;
  DType output;  // and of a tied embedding
  DType better;
  Layers attention_v = Layers::kNone;
  Layers ffn_down = Layers::kNone;
};

namespace {

constexpr Preset kPresets[] = {
    {"F32", 0, DType::kF32, DType::kF32, DType::kF32},
    {"F16", 1, DType::kF16, DType::kF16, DType::kF16},
    {"BF16", 32, DType::kBF16, DType::kBF16, DType::kBF16},
    {"Q8_0", 7, DType::kQ8_0, DType::kQ8_0, DType::kQ8_0},
    {"Q6_K", 18, DType::kQ6_K, DType::kQ6_K, DType::kQ6_K},
    {"Q5_K_M", 17, DType::kQ5_K, DType::kQ6_K, DType::kQ6_K, Layers::kSensitive,
     Layers::kSensitive},
    {"Q5_K_S", 16, DType::kQ5_K, DType::kQ6_K, DType::kQ5_K},
    {"Q5_1", 9, DType::kQ5_1, DType::kQ6_K, DType::kQ5_1},
    {"Q5_0", 8, DType::kQ5_0, DType::kQ6_K, DType::kQ5_0},
    {"Q4_K_M", 15, DType::kQ4_K, DType::kQ6_K, DType::kQ6_K, Layers::kSensitive,
     Layers::kSensitive},
    {"Q4_K_S", 14, DType::kQ4_K, DType::kQ6_K, DType::kQ5_K, Layers::kFirstFour,
     Layers::kFirstEighth},
    {"Q4_1", 3, DType::kQ4_1, DType::kQ6_K, DType::kQ4_1},
    {"Q4_0", 2, DType::kQ4_0, DType::kQ6_K, DType::kQ4_0},
};
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {{"Q4_K", "Q4_K_M"},
                                                                      {"Q5_K", "Q5_K_M"}};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool gets_better(Layers which, int32_t layer, int32_t layers) {
  const int32_t eighth = layers / 8;
  switch (which) {
    case Layers::kNone:
      return false;
    case Layers::kFirstFour:
      return layer < 4;
    case Layers::kFirstEighth:
      return layer < eighth;
    case Layers::kSensitive:  // the ends, and every third between
      return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
  }
  return false;
}

int32_t layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  int32_t layer = 0;
  if (tensor.starts_with(kPrefix))
    std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

DType preset_type(const Preset& preset, const ModelFacts& model, std::string_view tensor,
                  Module module) {
  const int32_t layer = layer_of(tensor);
  switch (module) {
    case Module::kOutput:
      return preset.output;
    case Module::kEmbedding:
      return model.tied_embeddings ? preset.output : preset.base;
    case Module::kAttention:
      if (contains(tensor, "attn_v.weight") || contains(tensor, "attn_kv_b.weight"))
        return gets_better(preset.attention_v, layer, model.layers) ? preset.better : preset.base;
      return preset.base;
    case Module::kFfn:
    case Module::kSharedExperts:
    case Module::kExperts:
      if (contains(tensor, "ffn_down"))
        return gets_better(preset.ffn_down, layer, model.layers) ? preset.better : preset.base;
      return preset.base;
  }
  return preset.base;
}

// The type that takes over where rows are no whole blocks of 256, as in llama-quantize.
DType smaller_blocks(DType type) {
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kIQ4_XS:
      return DType::kIQ4_NL;
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    case DType::kQ6_K:
      return DType::kQ8_0;
    default:
      return type;
  }
}

bool fits(DType type, int64_t columns) {
  return columns % core::info(type).block_values == 0;
}

}  // namespace

std::string_view name_of(Module module) {
  constexpr std::string_view kNames[kModuleCount] = {"embedding", "output",         "attention",
                                                     "ffn",       "shared experts", "experts"};
  return kNames[static_cast<size_t>(module)];
}

std::optional<Module> module_of(std::string_view tensor, const core::TensorView& view) {
  if (view.dims < 2 || !tensor.ends_with("weight") || contains(tensor, "_norm.weight") ||
      contains(tensor, "ffn_gate_inp.weight"))
    return std::nullopt;
  if (tensor == "token_embd.weight") return Module::kEmbedding;
  if (tensor == "output.weight") return Module::kOutput;
  if (contains(tensor, "_exps.")) return Module::kExperts;
  if (contains(tensor, "_shexp.")) return Module::kSharedExperts;
  if (contains(tensor, "ffn_")) return Module::kFfn;
  return Module::kAttention;
}

std::string recipe_names() {
  std::string names;
  for (const Preset& p : kPresets) names += fmt::format("{}{}", names.empty() ? "" : ", ", p.name);
  return names;
}

core::Result<Recipe> find_recipe(std::string_view name) {
  for (const auto& [alias, meant] : kAliases)
    if (name == alias) name = meant;
  for (const Preset& p : kPresets)
    if (p.name == name) return Recipe{.preset = &p};
  return core::unsupported("type '{}' is not known; known: {}", name, recipe_names());
}

std::string_view name_of(const Recipe& recipe) {
  return recipe.preset->name;
}

int32_t file_type_of(const Recipe& recipe) {
  return recipe.preset->file_type;
}

TypeChoice choose_type(const Recipe& recipe, const ModelFacts& model, std::string_view tensor,
                       const core::TensorView& view) {
  const auto module = module_of(tensor, view);
  if (!module) return {DType::kF32, DType::kF32};
  const auto& own = recipe.modules[static_cast<size_t>(*module)];
  TypeChoice choice;
  choice.wanted = own ? *own : preset_type(*recipe.preset, model, tensor, *module);
  const bool is_output =
      *module == Module::kOutput || (*module == Module::kEmbedding && model.tied_embeddings);
  const bool departs = is_output && !fits(choice.wanted, view.columns());
  choice.type = fitting_type(departs ? DType::kQ8_0 : choice.wanted, view.columns());
  return choice;
}

DType fitting_type(DType wanted, int64_t columns) {
  if (fits(wanted, columns)) return wanted;
  const DType smaller = smaller_blocks(wanted);
  return fits(smaller, columns) ? smaller : DType::kF16;
}

}  // namespace sluice::quantize
