#include "quantize/recipe.h"

#include <gmock/gmock.h>

namespace sluice::quantize {
namespace {

using core::DType;

constexpr ModelFacts kModel = {.layers = 32, .tied_embeddings = false};

core::TensorView matrix(int64_t rows, int64_t columns) {
  return {.type = DType::kF16, .dims = 2, .shape = {rows, columns}};
}

DType type_of(std::string_view recipe, std::string_view tensor, int64_t columns = 4096,
              const ModelFacts& model = kModel) {
  return choose_type(find_recipe(recipe).value(), model, tensor, matrix(4096, columns)).type;
}

// What llama-quantize of the same name writes for a Llama of 32 layers.
TEST(Recipe, MixesAreThoseOfLlamaQuantize) {
  for (const int layer : {0, 3, 6, 28, 31}) {
    const auto value = fmt::format("blk.{}.attn_v.weight", layer);
    const auto down = fmt::format("blk.{}.ffn_down.weight", layer);
    EXPECT_EQ(type_of("Q4_K_M", value), DType::kQ6_K) << layer;
    EXPECT_EQ(type_of("Q4_K_M", down), DType::kQ6_K) << layer;
  }
  EXPECT_EQ(type_of("Q4_K_M", "blk.4.attn_v.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.5.ffn_down.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_M", "blk.0.attn_q.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.3.attn_v.weight"), DType::kQ5_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.4.attn_v.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.3.ffn_down.weight"), DType::kQ5_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.4.ffn_down.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("Q5_K_M", "blk.0.ffn_down.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q5_K_S", "blk.0.ffn_down.weight"), DType::kQ5_K);
}

TEST(Recipe, TheOutputGetsMoreBits) {
  EXPECT_EQ(type_of("Q4_0", "output.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("Q8_0", "output.weight"), DType::kQ8_0);
  EXPECT_EQ(type_of("F16", "output.weight"), DType::kF16);
  EXPECT_EQ(type_of("Q4_0", "token_embd.weight"), DType::kQ4_0);
  const ModelFacts tied = {.layers = 32, .tied_embeddings = true};
  EXPECT_EQ(type_of("Q4_0", "token_embd.weight", 4096, tied), DType::kQ6_K);
}

TEST(Recipe, OddRowsFallBack) {
  EXPECT_EQ(type_of("Q4_K_S", "blk.9.attn_q.weight", 576), DType::kQ5_0);
  EXPECT_EQ(type_of("Q5_K_S", "blk.9.attn_q.weight", 576), DType::kQ5_1);
  EXPECT_EQ(type_of("Q6_K", "blk.9.attn_q.weight", 576), DType::kQ8_0);
  EXPECT_EQ(type_of("Q4_0", "output.weight", 576), DType::kQ8_0);
  EXPECT_EQ(type_of("Q4_0", "blk.9.attn_q.weight", 40), DType::kF16);
  const TypeChoice choice =
      choose_type(find_recipe("Q4_K").value(), kModel, "blk.9.attn_q.weight", matrix(8, 576));
  EXPECT_EQ(choice.wanted, DType::kQ4_K);
}

TEST(Recipe, NormsBiasesAndRoutersStayFloats) {
  EXPECT_EQ(type_of("Q4_0", "blk.0.ffn_gate_inp.weight"), DType::kF32);
  EXPECT_EQ(type_of("Q4_0", "blk.0.attn_q_a_norm.weight"), DType::kF32);
  EXPECT_EQ(type_of("Q4_0", "blk.0.exp_probs_b.bias"), DType::kF32);
  const core::TensorView row{.type = DType::kF16, .dims = 1, .shape = {4096}};
  EXPECT_EQ(choose_type(find_recipe("Q4_0").value(), kModel, "output_norm.weight", row).type,
            DType::kF32);
}

TEST(Recipe, AModuleMayHaveATypeOfItsOwn) {
  Recipe recipe = find_recipe("Q8_0").value();
  recipe.modules[static_cast<size_t>(Module::kExperts)] = DType::kQ4_0;
  const auto of = [&](std::string_view tensor) {
    return choose_type(recipe, kModel, tensor, matrix(4096, 4096)).type;
  };
  EXPECT_EQ(of("blk.3.ffn_gate_exps.weight"), DType::kQ4_0);
  EXPECT_EQ(of("blk.3.ffn_down_exps.weight"), DType::kQ4_0);
  EXPECT_EQ(of("blk.3.ffn_gate_shexp.weight"), DType::kQ8_0);
  EXPECT_EQ(of("blk.0.ffn_gate.weight"), DType::kQ8_0);
  EXPECT_EQ(of("blk.3.attn_kv_a_mqa.weight"), DType::kQ8_0);
}

TEST(Recipe, AnUnknownNameListsTheKnownOnes) {
  const auto found = find_recipe("Q4_K_XL");
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, ::testing::HasSubstr("Q4_K_M"));
}

}  // namespace
}  // namespace sluice::quantize
