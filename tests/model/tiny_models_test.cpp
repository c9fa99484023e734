// Tiny random models of every architecture and RoPE scaling against a float64 forward pass in numpy
// (tools/make_tiny_models.py), and what a broken one is told.
#include <algorithm>
#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "core/cpu.h"
#include "formats/gguf_writer.h"
#include "kernels/registry.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TinyModel : public ::testing::TestWithParam<std::string> {};

TEST_P(TinyModel, ExactLogitsAreThoseOfNumpy) {
  EXPECT_LE(worst_golden_error({.name = GetParam()}), 2e-5);
}

// Keys and values in f16, and int8 activations where the weights are Q8_0: 32 values share one
// scale and the layers are random, so that errors do not cancel as in a trained model. bf16
// activations and weights have 8 bits each.
TEST_P(TinyModel, EveryKernelTableIsClose) {
  const bool is_q8 = GetParam() == "llama-q8";
  for (const kernels::Ops* ops : kernels::all_ops()) {
    if (!ops->needs(core::detect_cpu())) continue;
    const bool is_bf16 = ops->activation_form(core::DType::kBF16) == kernels::ActivationForm::kBf16;
    const double limit = is_q8 ? 0.05 : is_bf16 ? 0.03 : 0.002;
    EXPECT_LE(worst_golden_error({.name = GetParam(), .kernels = std::string(ops->name)}), limit)
        << ops->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TinyModel,
                         ::testing::Values("llama", "llama-linear", "llama3", "llama3-factors",
                                           "llama-q8", "qwen2", "qwen2-yarn", "qwen3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The tiny llama, with changes.
class Rebuilt {
 public:
  Rebuilt()
      : source_(formats::Checkpoint::open(std::string(kModelFolder) + "llama.gguf").value()) {}

  struct Change {
    std::vector<std::string> drop{};                           // keys and tensors
    std::vector<std::pair<std::string, uint32_t>> integers{};  // keys to set instead
    std::vector<std::pair<std::string, std::string>> texts{};
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes{};  // F32 tensors to add
  };

  std::string load_error(const Change& change) const {
    formats::GgufWriter writer;
    for (const auto& [key, value] : source_->metadata().values())
      if (!contains(change.drop, key)) writer.copy(key, value);
    for (const auto& [key, value] : change.integers) writer.set_integer(key, value);
    for (const auto& [key, value] : change.texts) writer.set_text(key, value);
    for (const auto& [name, view] : source_->tensors())
      if (!contains(change.drop, name)) writer.add_tensor(name, view);
    static constexpr float kZeros[4096] = {};
    for (const auto& [name, shape] : change.shapes) {
      core::TensorView view{.type = core::DType::kF32,
                            .dims = static_cast<int>(shape.size()),
                            .data = reinterpret_cast<const std::byte*>(kZeros)};
      std::copy(shape.begin(), shape.end(), view.shape.begin());
      writer.add_tensor(name, view);
    }
    std::vector<formats::GgufFile> files;
    files.push_back(formats::read_gguf(formats::memory_source(writer.file())).value());
    const auto checkpoint = formats::Checkpoint::join(std::move(files), {"x.gguf"}).value();
    const auto model = Model::load(*checkpoint, {.threads = 1, .step_tokens_max = 8});
    return model.ok() ? "no error" : model.error().message;
  }

 private:
  static bool contains(const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  std::unique_ptr<formats::Checkpoint> source_;
};

TEST(BrokenModel, EveryProblemOfTheTensorsIsListed) {
  const Rebuilt tiny;
  EXPECT_EQ(tiny.load_error({}), "no error");
  EXPECT_EQ(tiny.load_error({.drop = {"blk.1.ffn_up.weight"}}),
            "tensor 'blk.1.ffn_up.weight' is missing, expected 64×32");
  const auto error = tiny.load_error(
      {.drop = {"blk.0.attn_q.weight", "blk.1.ffn_norm.weight", "output_norm.weight"},
       .shapes = {{"blk.0.attn_q.weight", {64, 16}},
                  {"blk.1.ffn_norm.weight", {2, 16}},
                  {"blk.0.surprise.weight", {4}}}});
  EXPECT_THAT(error, AllOf(HasSubstr("4 problems"),
                           HasSubstr("'blk.0.attn_q.weight': shape 64×16, expected 64×32"),
                           HasSubstr("'blk.1.ffn_norm.weight': shape 2×16, expected 32"),
                           HasSubstr("'output_norm.weight' is missing"),
                           HasSubstr("'blk.0.surprise.weight' is no part of architecture")));
}

TEST(BrokenModel, MetadataErrorsNameTheKey) {
  const Rebuilt tiny;
  const auto with = [&](const std::string& key, uint32_t value) {
    return tiny.load_error({.drop = {key}, .integers = {{key, value}}});
  };
  EXPECT_THAT(tiny.load_error({.drop = {"llama.block_count"}}),
              HasSubstr("metadata 'llama.block_count' is missing"));
  EXPECT_THAT(with("llama.block_count", 0), HasSubstr("'llama.block_count': 0, expected 1 to"));
  EXPECT_THAT(with("llama.block_count", 4000000000u), HasSubstr("'llama.block_count': 40000"));
  EXPECT_THAT(with("llama.attention.head_count_kv", 3),
              HasSubstr("4 heads do not share 3 key-value heads"));
  EXPECT_THAT(with("llama.attention.key_length", 12), HasSubstr("expected a multiple of 8"));
  EXPECT_THAT(with("llama.attention.key_length", 0), HasSubstr("key_length': 0, expected a mult"));
  EXPECT_THAT(tiny.load_error({.drop = {"llama.attention.key_length", "llama.attention.head_count"},
                               .integers = {{"llama.attention.head_count", 128}}}),
              HasSubstr("'llama.embedding_length': 32, its 128 heads do not divide it"));
  EXPECT_THAT(with("llama.feed_forward_length", (1u << 17) + 1),
              HasSubstr("'llama.feed_forward_length': a matrix of 131073 inputs"));
  EXPECT_THAT(with("llama.attention.value_length", 8), HasSubstr("expected the keys' 16"));
  EXPECT_THAT(with("llama.rope.dimension_count", 18), HasSubstr("even number up to the head's 16"));
  EXPECT_THAT(with("llama.rope.freq_base", 0), HasSubstr("expected a number over 0"));
  EXPECT_THAT(with("llama.expert_count", 8), HasSubstr("mixture of experts"));
  EXPECT_THAT(tiny.load_error({.texts = {{"llama.rope.scaling.type", "longrope"}}}),
              HasSubstr("'longrope', expected none, linear, llama3 or yarn"));
  EXPECT_THAT(tiny.load_error(
                  {.drop = {"general.architecture"}, .texts = {{"general.architecture", "gpt-j"}}}),
              HasSubstr("'gpt-j' is not known; known: llama, qwen2, qwen3"));
  EXPECT_THAT(tiny.load_error({.drop = {"token_embd.weight"}}),
              HasSubstr("'token_embd.weight' is missing"));
}

// Nothing is said of what only follows: not of heads of 16 values whose cache has 0 heads.
TEST(BrokenModel, EveryWrongKeyIsNamed) {
  const Rebuilt tiny;
  EXPECT_THAT(tiny.load_error(
                  {.drop = {"llama.attention.head_count_kv", "llama.rope.freq_base",
                            "llama.context_length"},
                   .integers = {{"llama.attention.head_count_kv", 0}, {"llama.rope.freq_base", 0}},
                   .texts = {{"llama.rope.scaling.type", "longrope"}}}),
              AllOf(HasSubstr("4 problems"), HasSubstr("'llama.context_length' is missing"),
                    HasSubstr("'llama.attention.head_count_kv': 0, expected at least 1"),
                    HasSubstr("'llama.rope.freq_base': 0, expected a number over 0"),
                    HasSubstr("'longrope', expected none, linear, llama3 or yarn")));
}

// Millions of layers that a small file promises are refused before memory is taken for them.
TEST(BrokenModel, LayersAreBoundedByTheFilesTensors) {
  const Rebuilt tiny;
  const auto with = [&](uint32_t layers) {
    return tiny.load_error(
        {.drop = {"llama.block_count"}, .integers = {{"llama.block_count", layers}}});
  };
  EXPECT_THAT(with(1u << 24), HasSubstr("'llama.block_count': 16777216 layers, the file has 2"));
  EXPECT_THAT(with(3), HasSubstr("'blk.2.attn_norm.weight' is missing"));
}

TEST(BrokenModel, AnUnknownKernelTableListsTheChoices) {
  const auto checkpoint =
      formats::Checkpoint::open(std::string(kModelFolder) + "llama.gguf").value();
  const auto model =
      Model::load(*checkpoint, {.threads = 1, .step_tokens_max = 8, .kernels = "abacus"});
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.error().message, AllOf(HasSubstr("abacus"), HasSubstr("ref")));
}

}  // namespace
}  // namespace sluice::model::testing
