// The default model against a float32 run of another implementation (tests/data/goldens): exact,
// and fast with every kernel table that this machine can run. SLUICE_MODEL names the model file.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "core/cpu.h"
#include "kernels/registry.h"
#include "model/perplexity.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

constexpr int32_t kStepTokens = 128;
constexpr int64_t kTokensMax = 2048;

const char* model_path() {
  return std::getenv("SLUICE_MODEL");
}

const nlohmann::json& goldens() {
  static const nlohmann::json& parsed = *new nlohmann::json([] {
    std::ifstream in(SLUICE_TESTS_DIR "/data/goldens/smollm2-135m.json");
    return nlohmann::json::parse(in);
  }());
  return parsed;
}

const std::string kExact = "exact";  // in place of a table's name

// A model that all tests of this file share: loading the exact one takes a while.
Model& shared_model(const std::string& table) {
  static std::map<std::string, Loaded>& loaded = *new std::map<std::string, Loaded>;
  Loaded& entry = loaded[table];
  if (entry.model == nullptr) {
    const bool is_exact = table == kExact;
    entry = load_model(model_path(),
                       {.threads = 2,
                        .step_tokens_max = kStepTokens,
                        .arithmetic = is_exact ? Arithmetic::kExact : Arithmetic::kFast,
                        .kernels = is_exact ? "" : table},
                       kTokensMax);
  }
  return *entry.model;
}

std::vector<float> run(Model& model, std::span<const int32_t> ids, int32_t logit_count,
                       const HiddenObserver* observer = nullptr) {
  std::vector<float> logits(static_cast<size_t>(logit_count) *
                            static_cast<size_t>(model.spec().vocab));
  SingleSequence(model, 0, kTokensMax)
      .append({.ids = ids, .chunk = kStepTokens, .logit_count = logit_count, .observer = observer},
              logits.data());
  return logits;
}

// Logits at the end of the prompt and after each golden id, (steps, vocab), teacher-forced. Each
// prompt runs once for all tests.
const std::vector<float>& teacher_forced(const std::string& table, size_t prompt_index) {
  static std::map<std::pair<std::string, size_t>, std::vector<float>> made;
  std::vector<float>& logits = made[{table, prompt_index}];
  if (!logits.empty()) return logits;
  const nlohmann::json& prompt = goldens()["prompts"][prompt_index];
  auto ids = prompt["ids"].get<std::vector<int32_t>>();
  const auto greedy = prompt["greedy_ids"].get<std::vector<int32_t>>();
  ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
  logits = run(shared_model(table), ids, static_cast<int32_t>(greedy.size()));
  return logits;
}

struct Agreement {
  int steps = 0;
  int equal = 0;
};

Agreement greedy_agreement(const std::string& table, double gap_min) {
  Agreement agreement;
  const auto vocab = static_cast<size_t>(shared_model(table).spec().vocab);
  for (size_t p = 0; p < goldens()["prompts"].size(); ++p) {
    const nlohmann::json& prompt = goldens()["prompts"][p];
    const std::vector<float>& logits = teacher_forced(table, p);
    for (size_t step = 0; step < prompt["greedy_ids"].size(); ++step) {
      if (prompt["greedy_gap"][step].get<double>() <= gap_min) continue;
      const auto* row = logits.data() + step * vocab;
      const auto best = std::max_element(row, row + vocab) - row;
      ++agreement.steps;
      agreement.equal += best == prompt["greedy_ids"][step].get<int64_t>();
    }
  }
  return agreement;
}

double largest_difference(std::span<const float> found, const std::vector<double>& expected) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
  return worst;
}

double largest(const std::vector<double>& values) {
  double found = 0;
  for (const double v : values) found = std::max(found, std::abs(v));
  return found;
}

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    if (model_path() == nullptr)
      FAIL() << "SLUICE_MODEL is not set: `make model` fetches it, `make test` sets it";
    if (kSanitized) GTEST_SKIP() << "too slow with a sanitizer";
  }
};

TEST_F(Golden, ExactLogitsAreThoseOfTheReference) {
  Model& model = shared_model(kExact);
  for (size_t p = 0; p < goldens()["prompts"].size(); ++p) {
    const nlohmann::json& prompt = goldens()["prompts"][p];
    SCOPED_TRACE(prompt["name"].get<std::string>());
    const auto logits =
        std::span(teacher_forced(kExact, p)).first(static_cast<size_t>(model.spec().vocab));
    const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
    const double limit = 2e-4 * static_cast<double>(*high - *low);
    const nlohmann::json& expected = prompt["last_logits"];
    double sum = 0, worst = 0;
    for (const float x : logits) sum += static_cast<double>(x);
    for (size_t i = 0; i < expected["top_ids"].size(); ++i) {
      const auto found = static_cast<double>(logits[expected["top_ids"][i].get<size_t>()]);
      worst = std::max(worst, std::abs(found - expected["top_values"][i].get<double>()));
    }
    EXPECT_LE(worst, limit);
    EXPECT_NEAR(sum / static_cast<double>(logits.size()), expected["mean"].get<double>(), limit);
    EXPECT_NEAR(model.ops().logsumexp(logits.data(), static_cast<int64_t>(logits.size())),
                expected["logsumexp"].get<double>(), limit);
  }
}

TEST_F(Golden, ExactGreedyIdsAreThoseOfTheReference) {
  const Agreement a = greedy_agreement(kExact, 0.05);
  EXPECT_GT(a.steps, 300);
  EXPECT_EQ(a.equal, a.steps);
}

TEST_F(Golden, ExactHiddenStatesAreThoseOfTheReference) {
  Model& model = shared_model(kExact);
  const nlohmann::json& prompt = goldens()["prompts"][0];
  const nlohmann::json& expected = prompt["hidden_last"];
  const auto hidden = static_cast<size_t>(model.spec().hidden);
  std::vector<std::vector<float>> last;  // embedding, each layer, final norm
  const HiddenObserver observer = [&](int32_t, std::span<const float> rows) {
    last.emplace_back(rows.end() - static_cast<ptrdiff_t>(hidden), rows.end());
  };
  run(model, prompt["ids"].get<std::vector<int32_t>>(), 1, &observer);
  ASSERT_EQ(last.size(), expected["after_layer"].size() + 2);
  std::vector<std::vector<double>> all = {expected["embedding"]};
  for (const auto& layer : expected["after_layer"]) all.push_back(layer);
  all.push_back(expected["after_final_norm"]);
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_LE(largest_difference(last[i], all[i]), 1e-3 * largest(all[i])) << "state " << i;
}

class FastGolden : public Golden, public ::testing::WithParamInterface<std::string> {};

TEST_P(FastGolden, GreedyIdsAgreeWhereTheBestIsClear) {
  const Agreement a = greedy_agreement(GetParam(), 0.5);
  EXPECT_GT(a.steps, 200);
  RecordProperty("equal", a.equal);
  EXPECT_GE(a.equal, 0.99 * a.steps) << a.equal << " of " << a.steps;
}

// data/text/english.json: the text's ids (sluice tokenize), and what `sluice perplexity --exact
// --ctx 512` says of all windows and of the first.
struct PerplexityGolden {
  std::vector<int32_t> ids;
  double exact = 0;
  double exact_first_window = 0;
};

PerplexityGolden perplexity_golden() {
  std::ifstream in(SLUICE_TESTS_DIR "/data/text/english.json");
  const auto json = nlohmann::json::parse(in);
  return {json["ids"], json["exact"], json["exact_first_window"]};
}

constexpr int32_t kWindow = 512;

double perplexity(const std::string& table, std::span<const int32_t> ids) {
  WindowLogits logits(shared_model(table), kWindow);
  PerplexitySum sum;
  for (size_t begin = 0; begin + kWindow <= ids.size(); begin += kWindow)
    add_window(logits, ids.subspan(begin, kWindow), &sum);
  return sum.perplexity();
}

TEST_F(Golden, ExactPerplexityIsAsRecorded) {
  const PerplexityGolden golden = perplexity_golden();
  EXPECT_NEAR(perplexity(kExact, std::span(golden.ids).first(kWindow)), golden.exact_first_window,
              1e-4 * golden.exact_first_window);
}

TEST_P(FastGolden, PerplexityIsWithinOnePercentOfExact) {
  const PerplexityGolden golden = perplexity_golden();
  ASSERT_GE(golden.ids.size(), 8000u);
  const double found = perplexity(GetParam(), golden.ids);
  RecordProperty("perplexity", std::to_string(found));
  EXPECT_NEAR(found, golden.exact, 0.01 * golden.exact);
}

// The reference's is what exact arithmetic runs on.
std::vector<std::string> fast_tables_here() {
  std::vector<std::string> names;
  for (const kernels::Ops* ops : kernels::all_ops())
    if (ops != &kernels::reference_ops() && ops->needs(core::detect_cpu()))
      names.emplace_back(ops->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Tables, FastGolden, ::testing::ValuesIn(fast_tables_here()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sluice::model::testing
