// Tiny random models with experts and latent attention, from GGUF and from Hugging Face folders,
// against a float64 forward pass in numpy that decompresses keys and values
// (tools/make_tiny_expert_models.py).
#include <algorithm>

#include <gmock/gmock.h>

#include "core/cpu.h"
#include "kernels/registry.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

class TinyExperts : public ::testing::TestWithParam<std::string> {};

TEST_P(TinyExperts, ExactLogitsAreThoseOfNumpy) {
  EXPECT_LE(worst_golden_error({.name = GetParam()}), 2e-5);
  EXPECT_LE(worst_golden_error({.name = GetParam(), .chunk = 48}), 2e-5);
}

// Limits as in tiny_models_test.cpp. A token whose experts nearly tie may go elsewhere with rounded
// activations: these models have none at the golden positions.
TEST_P(TinyExperts, EveryKernelTableIsClose) {
  const bool is_q8 = GetParam().ends_with("q8"), is_fp8 = GetParam().ends_with("fp8");
  for (const kernels::Ops* ops : kernels::all_ops()) {
    if (!ops->needs(core::detect_cpu())) continue;
    const bool is_bf16 = ops->activation_form(core::DType::kBF16) == kernels::ActivationForm::kBf16;
    // FP8 is rounded once more, to the 8-bit codes of the CPU tables.
    const double limit = is_fp8 ? 0.1 : is_q8 ? 0.05 : is_bf16 ? 0.03 : 0.004;
    EXPECT_LE(worst_golden_error({.name = GetParam(), .kernels = std::string(ops->name)}), limit)
        << ops->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TinyExperts,
                         ::testing::Values("deepseek2", "deepseek2-joined-q8", "deepseek2-lite",
                                           "qwen3moe", "hf-deepseek", "hf-deepseek-fp8", "hf-llama",
                                           "hf-qwen3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace sluice::model::testing
