// A small trained DeepSeek-V3 against Hugging Face transformers in float32. SLUICE_TRAINED_DEEPSEEK
// names a folder with models/tiny-deepseek-v3, models/tiny-deepseek-v3-fp8,
// models/tiny-deepseek-v3-bf16.gguf and goldens/tiny-deepseek-v3{,-fp8}.json; these weigh 90 MB and
// are no part of the tree. Without it the tests are skipped: tiny_experts_test.cpp shows the same
// of random models.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

constexpr int32_t kStepTokens = 128;
constexpr int64_t kTokensMax = 1536;

struct Source {
  std::string model;
  std::string golden;
  bool has_drafts = true;  // llama.cpp's converter left the draft layer out
};

class TrainedDeepseek : public ::testing::TestWithParam<Source> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("SLUICE_TRAINED_DEEPSEEK");
    if (folder == nullptr) GTEST_SKIP() << "SLUICE_TRAINED_DEEPSEEK is not set";
    if (kSanitized) GTEST_SKIP() << "too slow with a sanitizer";
    model_path_ = std::string(folder) + "/models/" + GetParam().model;
    std::ifstream in(std::string(folder) + "/goldens/" + GetParam().golden);
    golden_ = nlohmann::json::parse(in);
  }

  Loaded load(Arithmetic arithmetic) const {
    return load_model(model_path_,
                      {.threads = 2,
                       .step_tokens_max = kStepTokens,
                       .arithmetic = arithmetic,
                       .drafts = DraftLayers::kLoad},
                      kTokensMax);
  }

  // Logits at the end of the prompt and after each golden id, (steps, vocab), teacher-forced.
  static std::vector<float> teacher_forced(Model& model, const nlohmann::json& prompt) {
    auto ids = prompt["ids"].get<std::vector<int32_t>>();
    const auto greedy = prompt["greedy_ids"].get<std::vector<int32_t>>();
    ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
    std::vector<float> logits(greedy.size() * static_cast<size_t>(model.spec().vocab));
    SingleSequence(model, 0, kTokensMax)
        .append(
            {.ids = ids, .chunk = kStepTokens, .logit_count = static_cast<int32_t>(greedy.size())},
            logits.data());
    return logits;
  }

  struct Agreement {
    int steps = 0;
    int equal = 0;
  };
  static void count(const std::vector<float>& logits, const nlohmann::json& prompt, double gap_min,
                    Agreement* agreement) {
    const size_t steps = prompt["greedy_ids"].size(), vocab = logits.size() / steps;
    for (size_t step = 0; step < steps; ++step) {
      if (prompt["greedy_gap"][step].get<double>() <= gap_min) continue;
      const auto* row = logits.data() + step * vocab;
      ++agreement->steps;
      agreement->equal +=
          std::max_element(row, row + vocab) - row == prompt["greedy_ids"][step].get<int64_t>();
    }
  }

  std::string model_path_;
  nlohmann::json golden_;
};

TEST_P(TrainedDeepseek, ExactLogitsAndGreedyIdsAreThoseOfTheReference) {
  const Loaded loaded = load(Arithmetic::kExact);
  ASSERT_NE(loaded.model, nullptr);
  Agreement agreement;
  for (const nlohmann::json& prompt : golden_["prompts"]) {
    SCOPED_TRACE(prompt["name"].get<std::string>());
    const std::vector<float> all = teacher_forced(*loaded.model, prompt);
    count(all, prompt, 0.05, &agreement);
    const auto logits = std::span(all).first(static_cast<size_t>(loaded.model->spec().vocab));
    const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
    const nlohmann::json& expected = prompt["last_logits"];
    double worst = 0;
    for (size_t i = 0; i < expected["top_ids"].size(); ++i) {
      const auto found = static_cast<double>(logits[expected["top_ids"][i].get<size_t>()]);
      worst = std::max(worst, std::abs(found - expected["top_values"][i].get<double>()));
    }
    EXPECT_LE(worst / static_cast<double>(*high - *low), 2e-4);
  }
  EXPECT_GT(agreement.steps, 200);
  EXPECT_EQ(agreement.equal, agreement.steps);
}

TEST_P(TrainedDeepseek, ExactStatesAndExpertsAreThoseOfTheReference) {
  const Loaded loaded = load(Arithmetic::kExact);
  ASSERT_NE(loaded.model, nullptr);
  Model& model = *loaded.model;
  const nlohmann::json& prompt = golden_["prompts"][0];
  std::vector<std::vector<float>> states;  // embedding, each layer, final norm
  const HiddenObserver observer = [&](int32_t, std::span<const float> rows) {
    states.emplace_back(rows.end() - model.spec().hidden, rows.end());
  };
  std::vector<std::set<int32_t>> experts;
  const RoutingObserver routing = [&](int32_t, std::span<const int32_t> ids,
                                      std::span<const float>) {
    experts.emplace_back(ids.end() - model.spec().experts.used, ids.end());
  };
  std::vector<float> logits(static_cast<size_t>(model.spec().vocab));
  const auto ids = prompt["ids"].get<std::vector<int32_t>>();
  SingleSequence(model, 0, kTokensMax)
      .append({.ids = ids,
               .chunk = kStepTokens,
               .logit_count = 1,
               .observer = &observer,
               .routing_observer = &routing},
              logits.data());
  const nlohmann::json& hidden = prompt["hidden_last"];
  std::vector<std::vector<float>> expected = {hidden["embedding"]};
  for (const auto& layer : hidden["after_layer"]) expected.push_back(layer);
  expected.push_back(hidden["after_final_norm"]);
  ASSERT_EQ(states.size(), expected.size());
  for (size_t s = 0; s < expected.size(); ++s) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < expected[s].size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(states[s][i] - expected[s][i])));
      largest = std::max(largest, std::abs(static_cast<double>(expected[s][i])));
    }
    EXPECT_LE(worst, 1e-3 * largest) << "state " << s;
  }
  ASSERT_EQ(experts.size(), prompt["routing_last"].size());
  for (size_t i = 0; i < experts.size(); ++i)
    EXPECT_EQ(experts[i], prompt["routing_last"][i]["experts"].get<std::set<int32_t>>());
}

TEST_P(TrainedDeepseek, FastGreedyIdsAgreeWhereTheBestIsClear) {
  const Loaded loaded = load(Arithmetic::kFast);
  ASSERT_NE(loaded.model, nullptr);
  Agreement agreement;
  for (const nlohmann::json& prompt : golden_["prompts"])
    count(teacher_forced(*loaded.model, prompt), prompt, 0.5, &agreement);
  EXPECT_GT(agreement.steps, 150);
  RecordProperty("equal", agreement.equal);
  EXPECT_GE(agreement.equal, 0.99 * agreement.steps)
      << agreement.equal << " of " << agreement.steps;
}

// Prompt and golden continuation through the model and its draft layer, step by step.
class DraftRun {
 public:
  explicit DraftRun(Model& model) : model_(model), sequence_(model, 0, kTokensMax) {}

  // Computes `ids`, behind which `next` comes; returns the logits of the token after that.
  std::span<const float> step(std::span<const int32_t> ids, int32_t next) {
    for (size_t begin = 0; begin < ids.size(); begin += kStepTokens) {
      const auto chunk = ids.subspan(begin, std::min<size_t>(kStepTokens, ids.size() - begin));
      const auto rows = static_cast<int32_t>(chunk.size());
      const SequenceSpan spans[] = {sequence_.span(0, rows)};
      model_.forward(
          {.token_ids = chunk, .sequences = spans, .logit_rows = {}, .hidden = KeepHidden::kYes},
          nullptr);
      sequence_.advance(rows);
      std::vector<int32_t> next_ids(chunk.begin() + 1, chunk.end());
      const size_t behind = begin + chunk.size();
      next_ids.push_back(behind < ids.size() ? ids[behind] : next);
      std::vector<int32_t> hidden_rows(chunk.size());
      std::iota(hidden_rows.begin(), hidden_rows.end(), 0);
      logits_.resize(static_cast<size_t>(model_.spec().vocab));
      const HiddenObserver observer = [&](int32_t, std::span<const float> hidden) {
        hidden_.assign(hidden.begin(), hidden.end());
      };
      model_.draft({.next_ids = next_ids,
                    .sequences = spans,
                    .hidden_rows = hidden_rows,
                    .observer = &observer},
                   logits_.data());
    }
    return logits_;
  }
  std::span<const float> hidden() const { return hidden_; }  // of the last step

 private:
  Model& model_;
  SingleSequence sequence_;
  std::vector<float> logits_;
  std::vector<float> hidden_;
};

struct DraftAgreement {
  int drafts = 0;
  int equal = 0;     // to the golden draft
  int accepted = 0;  // the next golden token
  int golden_accepted = 0;
};

DraftAgreement run_drafts(Model& model, const nlohmann::json& golden) {
  DraftAgreement agreement;
  for (const nlohmann::json& prompt : golden["prompts"]) {
    DraftRun run(model);
    auto ids = prompt["ids"].get<std::vector<int32_t>>();
    const auto greedy = prompt["greedy_ids"].get<std::vector<int32_t>>();
    agreement.golden_accepted += prompt["mtp"]["accepted"].get<int>();
    for (size_t k = 0; k + 1 < greedy.size(); ++k) {
      const auto logits = run.step(ids, greedy[k]);
      ids = {greedy[k]};
      const auto draft = std::max_element(logits.begin(), logits.end()) - logits.begin();
      ++agreement.drafts;
      agreement.equal += draft == prompt["mtp"]["draft_ids"][k].get<int64_t>();
      agreement.accepted += draft == greedy[k + 1];
    }
  }
  return agreement;
}

TEST_P(TrainedDeepseek, ExactDraftsAreThoseOfTheReference) {
  const Loaded loaded = load(Arithmetic::kExact);
  ASSERT_NE(loaded.model, nullptr);
  ASSERT_EQ(loaded.model->has_drafts(), GetParam().has_drafts);
  if (!GetParam().has_drafts) GTEST_SKIP() << "the file has no draft layer";
  const nlohmann::json& prompt = golden_["prompts"][0];
  const nlohmann::json& mtp = prompt["mtp"];
  DraftRun run(*loaded.model);
  const auto logits =
      run.step(prompt["ids"].get<std::vector<int32_t>>(), prompt["greedy_ids"][0].get<int32_t>());
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  const nlohmann::json& expected = mtp["first_logits"];
  double worst = 0;
  for (size_t i = 0; i < expected["top_ids"].size(); ++i) {
    const auto found = static_cast<double>(logits[expected["top_ids"][i].get<size_t>()]);
    worst = std::max(worst, std::abs(found - expected["top_values"][i].get<double>()));
  }
  EXPECT_LE(worst / static_cast<double>(*high - *low), 2e-4);
  const auto hidden = mtp["first_hidden"].get<std::vector<double>>();
  double far = 0, largest = 0;
  for (size_t i = 0; i < hidden.size(); ++i) {
    far = std::max(far, std::abs(static_cast<double>(run.hidden()[i]) - hidden[i]));
    largest = std::max(largest, std::abs(hidden[i]));
  }
  EXPECT_LE(far, 1e-3 * largest);

  const DraftAgreement agreement = run_drafts(*loaded.model, golden_);
  EXPECT_EQ(agreement.drafts, 8 * 47);
  EXPECT_GE(agreement.equal, agreement.drafts - 3) << "near ties";
  EXPECT_NEAR(agreement.accepted, agreement.golden_accepted, 3);
}

TEST_P(TrainedDeepseek, FastDraftsAreAcceptedAsOften) {
  const Loaded loaded = load(Arithmetic::kFast);
  ASSERT_NE(loaded.model, nullptr);
  ASSERT_EQ(loaded.model->has_drafts(), GetParam().has_drafts);
  if (!GetParam().has_drafts) GTEST_SKIP() << "the file has no draft layer";
  const DraftAgreement agreement = run_drafts(*loaded.model, golden_);
  RecordProperty("accepted", agreement.accepted);
  EXPECT_NEAR(agreement.accepted, agreement.golden_accepted, 0.03 * agreement.drafts)
      << agreement.equal << " of " << agreement.drafts << " drafts are the reference's";
}

INSTANTIATE_TEST_SUITE_P(
    All, TrainedDeepseek,
    ::testing::Values(Source{"tiny-deepseek-v3", "tiny-deepseek-v3.json"},
                      Source{"tiny-deepseek-v3-fp8", "tiny-deepseek-v3-fp8.json"},
                      Source{"tiny-deepseek-v3-bf16.gguf", "tiny-deepseek-v3.json", false}),
    [](const auto& test) {
      std::string name = test.param.model;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
      return name;
    });

}  // namespace
}  // namespace sluice::model::testing
