#include "tests/model/golden_error.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "tests/model/harness.h"

namespace sluice::model::testing {

std::vector<std::string> device_models() {
  return {"llama",          "llama-linear",        "llama3",         "llama3-factors", "llama-q8",
          "qwen2",          "qwen2-yarn",          "qwen3",          "qwen3moe",       "deepseek2",
          "deepseek2-lite", "deepseek2-joined-q8", "hf-deepseek-fp8"};
}

std::vector<CardsOfModel> models_of_cards() {
  std::vector<CardsOfModel> models;
  for (const char* name : {"llama", "llama-linear", "llama3", "llama3-factors", "llama-q8", "qwen2",
                           "qwen2-yarn", "qwen3"})
    models.push_back({.name = name});
  models.push_back({"qwen3moe", 2});
  for (const char* name : {"deepseek2", "deepseek2-lite"})
    for (const int32_t cards : {2, 4}) models.push_back({name, cards});
  return models;
}

std::string test_name(std::string model) {
  std::replace(model.begin(), model.end(), '-', '_');
  return model;
}

double worst_golden_error(const GoldenCase& test) {
  const std::string path = kModelFolder + test.name;
  std::ifstream in(path + ".json");
  const auto golden = nlohmann::json::parse(in);
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto tokens = static_cast<int32_t>(ids.size());
  const Loaded loaded =
      load_model(std::filesystem::is_directory(path) ? path : path + ".gguf",
                 {.threads = 2,
                  .step_tokens_max = tokens,
                  .arithmetic = test.kernels.empty() && test.device == nullptr ? Arithmetic::kExact
                                                                               : Arithmetic::kFast,
                  .kernels = test.kernels,
                  .device = test.device,
                  .other_cards = test.other_cards,
                  .placement = Placement::parse(test.place).value(),
                  .is_deterministic = test.is_deterministic},
                 tokens);
  if (loaded.model == nullptr) return INFINITY;
  std::vector<float> logits(static_cast<size_t>(loaded.model->spec().vocab));
  SingleSequence sequence(*loaded.model, 0, tokens);
  double worst = 0;
  for (size_t p = 0; p < golden["positions"].size(); ++p) {
    const auto next = golden["positions"][p].get<int32_t>() + 1;
    const auto part = std::span(ids).subspan(static_cast<size_t>(sequence.position()),
                                             static_cast<size_t>(next - sequence.position()));
    sequence.append({.ids = part, .chunk = test.chunk, .logit_count = 1}, logits.data());
    const auto expected = golden["logits"][p].get<std::vector<double>>();
    const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
    for (size_t i = 0; i < expected.size(); ++i)
      worst =
          std::max(worst, std::abs(static_cast<double>(logits[i]) - expected[i]) / (*high - *low));
  }
  return worst;
}

}  // namespace sluice::model::testing
