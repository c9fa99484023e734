// Of many rows each thread goes through the layers with its own; the logits are the bits of steps
// whose rows are shared, for every kernel table and for every kind of product: biases, norms of
// heads, bf16, 8 bits, inputs in an order of their own.
#include <cstring>
#include <filesystem>

#include "core/cpu.h"
#include "core/rng.h"
#include "kernels/registry.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

constexpr int32_t kThreads = 2;
constexpr int32_t kTokens = 270;  // 135 of each thread's own: no whole tiles

class OwnRows : public ::testing::TestWithParam<std::string> {};

// All rows' logits.
std::vector<float> logits_of(const std::string& name, std::string_view kernels, int32_t chunk) {
  const std::string path = kModelFolder + name;
  const Loaded loaded = load_model(
      std::filesystem::is_directory(path) ? path : path + ".gguf",
      {.threads = kThreads, .step_tokens_max = kTokens, .kernels = std::string(kernels)}, kTokens);
  if (loaded.model == nullptr) return {};
  const int32_t vocab = loaded.model->spec().vocab;
  core::Rng rng(1);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < kTokens; ++i) ids.push_back(static_cast<int32_t>(rng.below(vocab)));
  std::vector<float> logits(static_cast<size_t>(kTokens) * static_cast<size_t>(vocab));
  SingleSequence(*loaded.model, 0, kTokens)
      .append({.ids = ids, .chunk = chunk, .logit_count = kTokens}, logits.data());
  return logits;
}

TEST_P(OwnRows, GiveTheBitsOfSharedRows) {
  for (const kernels::Ops* ops : kernels::all_ops()) {
    if (!ops->needs(core::detect_cpu())) continue;
    const auto shared = logits_of(GetParam(), ops->name, 100);
    const auto own = logits_of(GetParam(), ops->name, kTokens);
    ASSERT_EQ(shared.size(), own.size());
    EXPECT_EQ(std::memcmp(shared.data(), own.data(), own.size() * sizeof(float)), 0) << ops->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, OwnRows,
                         ::testing::Values("llama", "llama-q8", "qwen2", "qwen3", "hf-llama",
                                           "hf-w8a8", "hf-gptq-act-order"),
                         [](const auto& test) { return test_name(test.param); });

}  // namespace
}  // namespace sluice::model::testing
