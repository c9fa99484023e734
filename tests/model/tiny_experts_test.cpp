// Tiny random models with experts and latent attention, from GGUF and from Hugging Face folders,
// against a float64 forward pass in numpy that decompresses keys and values
// (tools/make_tiny_expert_models.py).
#include <algorithm>
#include <cmath>
#include <set>

#include <gmock/gmock.h>

#include "core/cpu.h"
#include "kernels/registry.h"
#include "tests/model/folder_copy.h"
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
  static const std::set<std::string> kCoded = {
      "deepseek2-joined-q8", "hf-w8a8",  "hf-int4",  "hf-int4-zeros",  "hf-awq", "hf-gptq",
      "hf-gptq-act-order",   "hf-mxfp4", "hf-mixed", "hf-gptq-experts"};
  const bool is_coded = kCoded.contains(GetParam()), is_fp8 = GetParam().ends_with("fp8");
  for (const kernels::Ops* ops : kernels::all_ops()) {
    if (!ops->needs(core::detect_cpu())) continue;
    const bool is_bf16 = ops->activation_form(core::DType::kBF16) == kernels::ActivationForm::kBf16;
    // FP8 is rounded once more, to the 8-bit codes of the CPU tables; W8A8 has 8 bits for all of a
    // row's activations.
    const double limit = is_fp8 ? 0.1 : is_coded ? 0.05 : is_bf16 ? 0.03 : 0.004;
    EXPECT_LE(worst_golden_error({.name = GetParam(), .kernels = std::string(ops->name)}), limit)
        << ops->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TinyExperts,
                         ::testing::Values("deepseek2", "deepseek2-joined-q8", "deepseek2-lite",
                                           "qwen3moe", "hf-deepseek", "hf-deepseek-fp8", "hf-llama",
                                           "hf-qwen3", "hf-w8a8", "hf-int4", "hf-int4-zeros",
                                           "hf-awq", "hf-gptq", "hf-gptq-act-order", "hf-mxfp4",
                                           "hf-mixed", "hf-gptq-experts", "hf-kimi", "hf-lite",
                                           "hf-qwen3moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class BrokenFolder : public ::testing::Test, protected FolderCopy {
 protected:
  BrokenFolder() : FolderCopy("hf-deepseek-fp8") {}
};

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(BrokenFolder, IsWholeBefore) {
  EXPECT_EQ(error(), "no error");
}

TEST_F(BrokenFolder, ExpertsThatAreNotThereAreNamedAsStored) {
  replace_in_config(R"("n_routed_experts": 4)", R"("n_routed_experts": 6)");
  EXPECT_THAT(error(), AllOf(HasSubstr("model.layers.1.mlp.experts.4.gate_proj.weight"),
                             HasSubstr("model.layers.2.mlp.experts.5.down_proj.weight"),
                             HasSubstr("'model.layers.1.mlp.gate.weight': shape 4×128, expected "
                                       "6×128")));
}

TEST_F(BrokenFolder, ExpertsThatAreTooManyAreNamedAsStored) {
  replace_in_config(R"("n_routed_experts": 4)", R"("n_routed_experts": 2)");
  replace_in_config(R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 1)");
  EXPECT_THAT(error(), HasSubstr("'model.layers.1.mlp.experts.3.up_proj.weight' is no part of"));
}

TEST_F(BrokenFolder, ARouterThatCannotChooseIsRefused) {
  replace_in_config(R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 3)");
  EXPECT_THAT(error(), HasSubstr("config.json: 'num_experts_per_tok': 3, expected at most 2"));
}

TEST_F(BrokenFolder, ScalesMustBeFinite) {
  overwrite("model.layers.1.mlp.experts.2.up_proj.weight_scale_inv", NAN);
  overwrite("model.layers.0.self_attn.o_proj.weight_scale_inv", INFINITY);
  EXPECT_THAT(error(), AllOf(HasSubstr("2 problems"),
                             HasSubstr("experts.2.up_proj.weight_scale_inv': holds scales that are "
                                       "not finite"),
                             HasSubstr("self_attn.o_proj.weight_scale_inv")));
}

}  // namespace
}  // namespace sluice::model::testing
