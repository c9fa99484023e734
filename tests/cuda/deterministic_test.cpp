// With --deterministic a row's logits on the card are the same bits however its prompt is cut and
// whatever runs beside it, for shapes of real models.
#include <algorithm>
#include <deque>

#include "model/single_sequence.h"
#include "quantize/synthesize.h"
#include "tests/cuda/support.h"

namespace sluice::model {
namespace {

constexpr int32_t kPrompt = 300;
constexpr int32_t kLast = 70;  // whose logits are compared
constexpr int32_t kPositionsMax = 512;
constexpr int32_t kSequences = 40;

struct Case {
  const char* geometry;
  int32_t layers;
  core::DType type;
};

class OnCard {
 public:
  OnCard(const Case& test, bool is_deterministic) {
    plan::Geometry geometry = plan::find_geometry(test.geometry).value();
    geometry.layers = test.layers;
    geometry.vocab = 1000;
    checkpoint_ =
        quantize::synthetic_checkpoint(geometry, {.rest = test.type, .output = core::DType::kQ6_K})
            .value();
    model_ = Model::load(*checkpoint_, {.threads = 8,
                                        .step_tokens_max = kPrompt,
                                        .device = kernels::card().device,
                                        .is_deterministic = is_deterministic})
                 .value();
    model_->allocate_kv(kSequences * pages_of_one()).value();
    for (int32_t i = 0; i < kPrompt; ++i) ids_.push_back(i * 37 % 1000);
  }

  SingleSequence sequence(int32_t number) {
    return SingleSequence(*model_, number * pages_of_one(), kPositionsMax);
  }
  // (kLast, vocab)
  std::vector<float> in_steps_of(int32_t chunk) {
    std::vector<float> logits(static_cast<size_t>(kLast) * 1000);
    sequence(0).append({.ids = ids_, .chunk = chunk, .logit_count = kLast}, logits.data());
    return logits;
  }
  // The last token's, beside `others` that decode and a prompt of `prompt_rows`.
  std::vector<float> beside(int32_t others, int32_t prompt_rows) {
    std::vector<int32_t> token_ids, logit_rows;
    std::vector<SequenceSpan> spans;
    std::deque<SingleSequence> sequences;  // spans point into them
    const auto add = [&](int32_t number, int32_t before, int32_t rows) {
      SingleSequence& s = sequences.emplace_back(sequence(number));
      if (before > 0) s.append({.ids = std::span(ids_).first(before), .chunk = 100}, nullptr);
      spans.push_back(s.span(static_cast<int32_t>(token_ids.size()), rows));
      token_ids.insert(token_ids.end(), ids_.begin() + before, ids_.begin() + before + rows);
      logit_rows.push_back(static_cast<int32_t>(token_ids.size()) - 1);
    };
    if (prompt_rows > 0) add(kSequences - 1, 3, prompt_rows);
    for (int32_t i = 1; i <= others; ++i) add(i, 5 * i, 1);
    add(0, kPrompt - 1, 1);
    std::vector<float> logits(logit_rows.size() * 1000);
    model_->forward({.token_ids = token_ids, .sequences = spans, .logit_rows = logit_rows},
                    logits.data());
    return {logits.end() - 1000, logits.end()};
  }

 private:
  static constexpr int32_t pages_of_one() { return kPositionsMax / kernels::kPageTokens; }
  std::unique_ptr<formats::Checkpoint> checkpoint_;
  std::unique_ptr<Model> model_;
  std::vector<int32_t> ids_;
};

TEST(CudaDeterministic, BitsDoNotDependOnStepsOrOnOthers) {
  using kernels::card;
  NEEDS_CARD();
  for (const Case& test :
       {Case{"qwen2-1.5b", 3, core::DType::kQ4_K}, Case{"qwen2-1.5b", 2, core::DType::kQ8_0},
        Case{"llama3-8b", 2, core::DType::kBF16}}) {
    OnCard model(test, true);
    const std::vector<float> whole = model.in_steps_of(kPrompt);
    EXPECT_EQ(std::count_if(whole.begin(), whole.end(), [](float v) { return v == 0; }), 0);
    for (const int32_t chunk : {1, 2, 7, 64, 129})
      EXPECT_EQ(model.in_steps_of(chunk), whole)
          << test.geometry << ", steps of " << chunk << " tokens";
    const std::vector<float> last(whole.end() - 1000, whole.end());
    for (const int32_t others : {0, 1, 3, 8, 38})
      for (const int32_t prompt_rows : {0, 100})
        EXPECT_EQ(model.beside(others, prompt_rows), last)
            << test.geometry << ", beside " << others << " and a prompt of " << prompt_rows;
  }
}

// What the test above compares does differ without the option.
TEST(CudaDeterministic, WithoutItBitsDepend) {
  using kernels::card;
  NEEDS_CARD();
  OnCard model({"qwen2-1.5b", 3, core::DType::kBF16}, false);
  EXPECT_NE(model.in_steps_of(1), model.in_steps_of(kPrompt));
}

}  // namespace
}  // namespace sluice::model
