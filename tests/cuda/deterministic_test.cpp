// With --deterministic a row's logits on the card are the same bits however its prompt is cut and
// whatever runs beside it, for shapes of real models.
#include <algorithm>
#include <deque>
#include <string>

#include "model/single_sequence.h"
#include "quantize/folder_recipe.h"
#include "quantize/synthesize.h"
#include "quantize/synthesize_folder.h"
#include "tests/cuda/support.h"
#include "tests/model/golden_error.h"

namespace sluice::model {
namespace {

constexpr int32_t kLast = 70;  // tokens of the prompt whose logits are compared
constexpr int32_t kSequences = 40;
constexpr int32_t kVocab = 1000;

plan::Geometry geometry_of(const char* name, int32_t layers) {
  plan::Geometry geometry = plan::find_geometry(name).value();
  geometry.layers = layers;
  geometry.vocab = kVocab;
  return geometry;
}

// One layer is dense, one has experts.
plan::Geometry deepseek() {
  plan::Geometry geometry = geometry_of("deepseek-v3", 2);
  geometry.ffn = 4096;
  geometry.experts.dense_layers = 1;
  geometry.experts.count = 32;
  return geometry;
}

plan::Geometry qwen3moe() {
  plan::Geometry geometry = geometry_of("qwen3-8b", 2);
  geometry.architecture = "qwen3moe";
  geometry.hidden = 2048;
  geometry.kv_heads = 4;
  geometry.experts = {.count = 64, .used = 8, .ffn = 768};
  return geometry;
}

struct Case {
  const char* name;
  plan::Geometry geometry;
  core::DType type;
  int32_t prompt = 300;
  const char* place = "";
};

std::unique_ptr<formats::Checkpoint> checkpoint_of(const Case& test) {
  using quantize::FolderType, quantize::folder_recipe;
  if (test.type == core::DType::kF8_B128)
    return quantize::synthetic_folder(test.geometry,
                                      {.path = {}, .recipe = folder_recipe(FolderType::kFp8)})
        .value();
  return quantize::synthetic_checkpoint(test.geometry,
                                        {.rest = test.type, .output = core::DType::kQ6_K})
      .value();
}

class OnCard {
 public:
  OnCard(const Case& test, bool is_deterministic) : prompt_(test.prompt) {
    checkpoint_ = checkpoint_of(test);
    // With these speeds steps of any length would copy the host's experts to the card.
    model_ = Model::load(*checkpoint_, {.threads = 8,
                                        .step_tokens_max = prompt_,
                                        .device = kernels::card().device,
                                        .placement = Placement::parse(test.place).value(),
                                        .is_deterministic = is_deterministic,
                                        .speeds = {.host_tops = 1e-9, .link_gb_s = 1e6}})
                 .value();
    model_->allocate_kv(kSequences * pages_of_one()).value();
    for (int32_t i = 0; i < prompt_; ++i) ids_.push_back(i * 37 % kVocab);
  }

  SingleSequence sequence(int32_t number) {
    return SingleSequence(*model_, number * pages_of_one(), pages_of_one() * kernels::kPageTokens);
  }
  // (kLast, vocab)
  std::vector<float> in_steps_of(int32_t chunk) {
    std::vector<float> logits(static_cast<size_t>(kLast) * kVocab);
    sequence(0).append({.ids = ids_, .chunk = chunk, .logit_count = kLast}, logits.data());
    return logits;
  }
  // The last `own` tokens', beside `others` that decode and a prompt of `prompt_rows`.
  std::vector<float> beside(int32_t others, int32_t prompt_rows, int32_t own) {
    std::vector<int32_t> token_ids, logit_rows;
    std::vector<SequenceSpan> spans;
    std::deque<SingleSequence> sequences;  // spans point into them
    const auto add = [&](int32_t number, int32_t before, int32_t rows) {
      SingleSequence& s = sequences.emplace_back(sequence(number));
      if (before > 0) s.append({.ids = std::span(ids_).first(before), .chunk = 100}, nullptr);
      spans.push_back(s.span(static_cast<int32_t>(token_ids.size()), rows));
      for (int32_t i = before; i < before + rows; ++i) {
        logit_rows.push_back(static_cast<int32_t>(token_ids.size()));
        token_ids.push_back(ids_[static_cast<size_t>(i)]);
      }
    };
    if (prompt_rows > 0) add(kSequences - 1, 3, prompt_rows);
    for (int32_t i = 1; i <= others; ++i) add(i, 5 * i, 1);
    add(0, prompt_ - own, own);
    std::vector<float> logits(logit_rows.size() * kVocab);
    model_->forward({.token_ids = token_ids, .sequences = spans, .logit_rows = logit_rows},
                    logits.data());
    return {logits.end() - own * kVocab, logits.end()};
  }

 private:
  int32_t pages_of_one() const { return (prompt_ + 63) / kernels::kPageTokens; }
  const int32_t prompt_;
  std::unique_ptr<formats::Checkpoint> checkpoint_;
  std::unique_ptr<Model> model_;
  std::vector<int32_t> ids_;
};

void expect_same_bits(const Case& test) {
  SCOPED_TRACE(std::string(test.name) + ' ' + test.place);
  OnCard model(test, true);
  const std::vector<float> whole = model.in_steps_of(test.prompt);
  EXPECT_EQ(std::count_if(whole.begin(), whole.end(), [](float v) { return v == 0; }), 0);
  for (const int32_t chunk : {1, 2, 7, 16, 64, 129})
    EXPECT_TRUE(model.in_steps_of(chunk) == whole) << "steps of " << chunk << " tokens";
  for (const int32_t others : {0, 1, 3, 8, 38})
    for (const int32_t prompt_rows : {0, 100})
      for (const int32_t own : {1, 5}) {  // five: a token and its drafts
        const std::vector<float> last(whole.end() - own * kVocab, whole.end());
        EXPECT_TRUE(model.beside(others, prompt_rows, own) == last)
            << own << " rows beside " << others << " and a prompt of " << prompt_rows;
      }
}

TEST(CudaDeterministic, BitsDoNotDependOnStepsOrOnOthers) {
  using kernels::card;
  NEEDS_CARD();
  for (const Case& test : {Case{"qwen2-1.5b", geometry_of("qwen2-1.5b", 3), core::DType::kQ4_K},
                           Case{"qwen2-1.5b", geometry_of("qwen2-1.5b", 2), core::DType::kQ8_0},
                           Case{"llama3-8b", geometry_of("llama3-8b", 2), core::DType::kBF16}})
    expect_same_bits(test);
}

// Rows of 1,300 tokens have three parts in latent attention.
TEST(CudaDeterministic, BitsOfExpertsDoNotDependOnStepsOrOnOthers) {
  using kernels::card;
  NEEDS_CARD();
  for (const Case& test : {Case{"qwen3moe", qwen3moe(), core::DType::kBF16},
                           Case{"deepseek-v3", deepseek(), core::DType::kQ8_0, 1300},
                           Case{"deepseek-v3", deepseek(), core::DType::kQ8_0, 300, "experts=cpu"}})
    expect_same_bits(test);
}

// Folders of FP8 in blocks, dense and with experts.
TEST(CudaDeterministic, BitsOfFp8DoNotDependOnStepsOrOnOthers) {
  using kernels::card;
  NEEDS_CARD();
  for (const Case& test : {Case{"llama3-8b", geometry_of("llama3-8b", 2), core::DType::kF8_B128},
                           Case{"deepseek-v3", deepseek(), core::DType::kF8_B128}})
    expect_same_bits(test);
}

// What the tests above compare does differ without the option.
TEST(CudaDeterministic, WithoutItBitsDepend) {
  using kernels::card;
  NEEDS_CARD();
  for (const Case& test :
       {Case{"qwen2-1.5b", geometry_of("qwen2-1.5b", 3), core::DType::kBF16},
        Case{"llama3-8b", geometry_of("llama3-8b", 2), core::DType::kF8_B128},
        Case{"qwen3moe", qwen3moe(), core::DType::kBF16},
        Case{"deepseek-v3", deepseek(), core::DType::kQ8_0},
        Case{"deepseek-v3", deepseek(), core::DType::kF8_B128},
        Case{"deepseek-v3", deepseek(), core::DType::kQ8_0, 300, "experts=cpu"}}) {
    OnCard model(test, false);
    EXPECT_FALSE(model.in_steps_of(1) == model.in_steps_of(test.prompt)) << test.name;
  }
}

TEST(CudaDeterministic, ExpertsAreCloseToNumpy) {
  using kernels::card;
  NEEDS_CARD();
  for (const char* name :
       {"qwen3moe", "deepseek2", "deepseek2-lite", "deepseek2-joined-q8", "hf-deepseek-fp8"})
    for (const int32_t chunk : {1, 7, 64})
      EXPECT_LE(
          testing::worst_golden_error(
              {.name = name, .chunk = chunk, .device = card().device, .is_deterministic = true}),
          0.03)
          << name << ", chunk " << chunk;
}

}  // namespace
}  // namespace sluice::model
