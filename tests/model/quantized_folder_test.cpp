// Folders of 4-bit and 8-bit weights that are broken: one Error names everything, nothing is
// loaded. What whole ones compute, tiny_experts_test.cpp shows.
#include <array>
#include <cmath>
#include <set>

#include <gmock/gmock.h>

#include "kernels/ref/ref_device.h"
#include "tests/model/folder_copy.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint16_t kBf16Nan = 0x7fc0, kF16Infinity = 0x7c00;

TEST(QuantizedFolder, ScalesMustBeFiniteInEveryFormat) {
  const FolderCopy mixed("hf-mixed");
  mixed.overwrite("model.layers.0.self_attn.o_proj.weight_scale", NAN);
  mixed.overwrite("model.layers.1.mlp.experts.3.up_proj.weight_scale", kBf16Nan);
  EXPECT_THAT(mixed.error(),
              AllOf(HasSubstr("2 problems"), HasSubstr("o_proj.weight_scale': holds scales that"),
                    HasSubstr("experts.3.up_proj.weight_scale': holds scales that")));
  const FolderCopy awq("hf-awq");
  awq.overwrite("model.layers.0.mlp.up_proj.scales", kF16Infinity);
  EXPECT_THAT(awq.error(), HasSubstr("mlp.up_proj.scales': holds scales that are not finite"));
  const FolderCopy mxfp4("hf-mxfp4");
  mxfp4.overwrite("model.layers.0.mlp.down_proj.weight_scale", uint8_t{255});
  EXPECT_THAT(mxfp4.error(), HasSubstr("mlp.down_proj.weight_scale': holds scales that are not"));
}

// Blocks' scales are f16 there, and minima: minus zero times scale.
TEST(QuantizedFolder, OnADeviceScalesMustBeF16Numbers) {
  const auto error = [](const FolderCopy& folder) {
    return folder.error(kernels::make_reference_device());
  };
  constexpr uint16_t kMost = 0x477f, kMore = 0x4780;  // bf16: 65,280 and 65,536
  const FolderCopy int4("hf-int4");
  int4.overwrite("model.layers.0.mlp.up_proj.weight_scale", kMost);
  EXPECT_EQ(error(int4), "no error");
  int4.overwrite("model.layers.0.mlp.up_proj.weight_scale", kMore);
  EXPECT_THAT(error(int4), AllOf(HasSubstr("layers.0.mlp.up_proj.weight"), HasSubstr("row 0:"),
                                 HasSubstr("scales beyond 65,504")));
  EXPECT_EQ(int4.error(), "no error");
  const FolderCopy zeros("hf-int4-zeros");
  zeros.overwrite("model.layers.0.mlp.up_proj.weight_scale", kMost);
  EXPECT_THAT(error(zeros), HasSubstr("scales beyond 65,504"));
}

TEST(QuantizedFolder, PartsThatAreMissingOrOfAnotherTypeAreAllNamed) {
  const FolderCopy folder("hf-int4");
  folder.replace_in_shard("layers.0.mlp.up_proj.weight_scale", "layers.0.mlp.up_proj.weight_spare");
  folder.replace_in_shard("layers.0.mlp.down_proj.weight_packed\":{\"dtype\":\"I32\"",
                          "layers.0.mlp.down_proj.weight_packed\":{\"dtype\":\"F32\"");
  EXPECT_THAT(
      folder.error(),
      AllOf(HasSubstr("'model.layers.0.mlp.up_proj.weight_scale' is missing"),
            HasSubstr("'model.layers.0.mlp.down_proj.weight_packed': values of type F32 have no"),
            HasSubstr("'model.layers.0.mlp.up_proj.weight_spare' is no part of")));
}

// Without them the matrices would mean something else, and other models do without.
TEST(QuantizedFolder, WhatTheConfigurationSaysIsThereMustBe) {
  const struct {
    const char* folder;
    const char* tensor;
  } kCases[] = {{"hf-awq", "model.layers.0.mlp.up_proj.qzeros"},
                {"hf-gptq", "model.layers.0.mlp.up_proj.qzeros"},
                {"hf-gptq-act-order", "model.layers.0.self_attn.q_proj.g_idx"},
                {"hf-int4-zeros", "model.layers.0.mlp.up_proj.weight_zero_point"},
                {"hf-mixed", "model.layers.1.mlp.gate.e_score_correction_bias"},
                {"hf-int4", "lm_head.weight"}};
  for (const auto& [name, tensor] : kCases) {
    const FolderCopy folder(name);
    folder.erase(tensor);
    EXPECT_THAT(folder.error(), HasSubstr(fmt::format("'{}' is missing", tensor)));
  }
  // One that may lack.
  const FolderCopy folder("hf-gptq");
  folder.erase("model.layers.0.mlp.up_proj.g_idx");
  EXPECT_EQ(folder.error(), "no error");
}

TEST(QuantizedFolder, TheVocabularyIsThatOfTheConfiguration) {
  const FolderCopy folder("hf-int4");
  folder.replace_in_config(R"("vocab_size": 64)", R"("vocab_size": 65)");
  EXPECT_THAT(folder.error(), HasSubstr("config.json: 'vocab_size': 65, tensor "
                                        "'model.embed_tokens.weight' has 64 rows"));
}

TEST(QuantizedFolder, ShapesMustAgree) {
  const FolderCopy folder("hf-int4");
  folder.overwrite("model.layers.0.mlp.up_proj.weight_shape", int64_t{96});
  folder.replace_in_config(R"("intermediate_size": 128)", R"("intermediate_size": 256)");
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("mlp.up_proj.weight_shape': says 96×128, expected 256×128"),
                    HasSubstr("mlp.gate_proj.weight_packed': shape 128×16, expected 256×16")));
}

TEST(QuantizedFolder, InputsMustBeInAGroupThatIsThere) {
  const FolderCopy folder("hf-gptq-act-order");
  folder.overwrite("model.layers.0.self_attn.q_proj.g_idx", int32_t{4});
  folder.overwrite("model.layers.0.self_attn.k_proj.g_idx", int32_t{-1});
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("q_proj.g_idx': input 0 is in group 4 of 4"),
                                    HasSubstr("k_proj.g_idx': input 0 is in group -1 of 4")));
}

// What every quantised matrix of a block with `part` in its name is packed as.
std::set<core::DType> types_in_order(const FolderCopy& folder, bool in_order,
                                     std::string_view part = "") {
  const Loaded loaded = load_model(folder.path(), {.threads = 1, .step_tokens_max = 1}, 1);
  std::set<core::DType> types;
  for (const MatrixSource& source : loaded.model->weights().sources)
    if (source.tensor.starts_with("blk.") && source.tensor.find(part) != std::string::npos &&
        (source.matrix->input_order == nullptr) == in_order)
      types.insert(source.matrix->type);
  return types;
}

TEST(QuantizedFolder, ActOrderStaysInFourBitsWhereGroupsAreEven) {
  const FolderCopy folder("hf-gptq-act-order");
  EXPECT_THAT(types_in_order(folder, false), ElementsAre(core::DType::kI4_Z32));
  EXPECT_THAT(types_in_order(folder, true), IsEmpty());
  folder.overwrite("model.layers.0.self_attn.q_proj.g_idx", std::array<int32_t, 2>{0, 0});
  EXPECT_THAT(types_in_order(folder, true), ElementsAre(core::DType::kBF16));
}

// Gate and up of expert 2 have orders of their own.
TEST(QuantizedFolder, ActOrderOfExpertsStaysInFourBitsWhereGateAndUpHaveOneOrder) {
  const FolderCopy folder("hf-gptq-experts");
  for (const char* part : {"_exps.1.", "_exps.7.", "down_exps.2."}) {
    EXPECT_THAT(types_in_order(folder, false, part), ElementsAre(core::DType::kI4_Z32));
    EXPECT_THAT(types_in_order(folder, true, part), IsEmpty());
  }
  for (const char* part : {"gate_exps.2.", "up_exps.2."})
    EXPECT_THAT(types_in_order(folder, true, part), ElementsAre(core::DType::kBF16));
}

TEST(QuantizedFolder, BiasesAreNoPartUnlessTheyAreZero) {
  const FolderCopy folder("hf-gptq");
  folder.overwrite("model.layers.0.mlp.up_proj.bias", uint16_t{1});
  EXPECT_THAT(folder.error(), HasSubstr("'model.layers.0.mlp.up_proj.bias' is no part of"));
}

TEST(QuantizedFolder, UnknownQuantisationsAreNamedWithWhatIsSupported) {
  const FolderCopy method("hf-awq");
  method.replace_in_config(R"("quant_method": "awq")", R"("quant_method": "quip")");
  EXPECT_THAT(method.error(), HasSubstr("'quant_method' is 'quip', supported: fp8, compressed-"));
  const FolderCopy awq("hf-awq");
  awq.replace_in_config(R"("bits": 4)", R"("bits": 3)");
  awq.replace_in_config(R"("version": "gemm")", R"("version": "gemv")");
  EXPECT_THAT(awq.error(), AllOf(HasSubstr("'bits' is '3', supported: 4"),
                                 HasSubstr("'version' is 'gemv', supported: gemm")));
  const FolderCopy gptq("hf-gptq-act-order");
  gptq.replace_in_config("gptq_v2", "gptq_v3");
  EXPECT_THAT(gptq.error(), HasSubstr("'checkpoint_format' is 'gptq_v3', supported: gptq, "));
  const FolderCopy mixed("hf-mixed");
  mixed.replace_in_config(R"("num_bits": 4)", R"("num_bits": 2)");
  mixed.replace_in_config(R"("dynamic": true)", R"("dynamic": false)");
  EXPECT_THAT(mixed.error(), AllOf(HasSubstr("'group_1.weights' is 'int2 by group'"),
                                   HasSubstr("'group_0.input_activations' is 'int8, static'")));
  const FolderCopy none("hf-gptq");
  none.replace_in_config(R"("quant_method": "gptq")", R"("quant_method": "compressed-tensors")");
  EXPECT_THAT(none.error(), HasSubstr("no object 'config_groups'"));
}

}  // namespace
}  // namespace sluice::model::testing
