#include "tests/model/golden_error.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "tests/model/harness.h"

namespace sluice::model::testing {

std::vector<std::string> device_models() {
  return {"llama",           "llama-linear", "llama3",         "llama3-factors",
          "llama-q8",        "qwen2",        "qwen2-yarn",     "qwen3",
          "qwen3moe",        "deepseek2",    "deepseek2-lite", "deepseek2-joined-q8",
          "hf-deepseek-fp8", "hf-int4",      "hf-int4-zeros",  "hf-w8a8"};
}

std::vector<CardsOfModel> models_of_cards() {
  std::vector<CardsOfModel> models = expert_models_of_cards();
  for (const char* name : {"llama", "llama-linear", "llama3", "llama3-factors", "llama-q8", "qwen2",
                           "qwen2-yarn", "qwen3"})
    models.push_back({.name = name});
  return models;
}

std::vector<CardsOfModel> expert_models_of_cards() {
  return {{"qwen3moe", 2},
          {"deepseek2", 2},
          {"deepseek2", 4},
          {"deepseek2-lite", 2},
          {"deepseek2-lite", 4}};
}

std::string test_name(std::string model) {
  std::replace(model.begin(), model.end(), '-', '_');
  return model;
}

void look_at_streams(const GoldenCase& test) {
  const Loaded loaded = load_model(kModelFolder + test.name + ".gguf",
                                   {.threads = 2,
                                    .step_tokens_max = 16,
                                    .device = test.device,
                                    .other_cards = test.other_cards,
                                    .placement = Placement::parse(test.place).value()},
                                   32);
  ASSERT_NE(loaded.model, nullptr);
  int32_t seen = 0;
  const HiddenObserver observer = [&](int32_t, std::span<const float>) { ++seen; };
  std::vector<float> logits(static_cast<size_t>(loaded.model->spec().vocab));
  const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  SingleSequence sequence(*loaded.model, 0, 32);
  for (const size_t rows : {7, 1, 1}) {
    const auto first = static_cast<size_t>(sequence.position());
    sequence.append({.ids = std::span(ids).subspan(first, rows),
                     .chunk = 16,
                     .logit_count = 1,
                     .observer = &observer},
                    logits.data());
  }
  EXPECT_EQ(seen, 3 * (loaded.model->spec().layers + 2));
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
