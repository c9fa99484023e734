// Draft layers on the card: what they join against the reference device, a pass's logits against
// the processor's, and the trained model of SLUICE_TRAINED_DEEPSEEK
// (tests/model/trained_deepseek_test.cpp) through the engine.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "kernels/half.h"
#include "tests/cuda/support.h"
#include "tests/engine/model_drafts.h"
#include "tests/kernels/support.h"
#include "tests/model/draft_passes.h"

namespace sluice {
namespace {

using kernels::card;

std::vector<float> run_join(kernels::Device& device, int64_t columns) {
  constexpr int64_t kRows = 5, kStates = 3;
  core::Rng rng(7);
  const auto normals = [&](int64_t count) { return kernels::normals(rng, count); };
  const kernels::OnDevice<float> embedded(device, normals(kRows * columns)),
      embedding_norm(device, normals(columns)), states(device, normals(kStates * columns)),
      output_norm(device, normals(columns)), state_norm(device, normals(columns));
  const kernels::OnDevice<int32_t> state_rows(device, {2, 0, 1, 1, 0});
  const kernels::OnDevice<uint16_t> out(
      device, std::vector<uint16_t>(static_cast<size_t>(kRows * 2 * columns), 0xffff));
  device.join({.embedded = embedded.data(),
               .embedding_norm = embedding_norm.data(),
               .states = states.data(),
               .state_rows = state_rows.data(),
               .output_norm = output_norm.data(),
               .state_norm = state_norm.data(),
               .epsilon = 1e-6f,
               .rows = kRows,
               .columns = columns,
               .out = out.data()});
  return kernels::floats_of(out.values(), kernels::float_of_bf16);
}

TEST(CudaDrafts, JoinAgreesWithReference) {
  NEEDS_CARD();
  const auto reference = kernels::make_reference_device();
  for (const int64_t columns : {8, 328, 7168}) {
    const std::vector<float> expected = run_join(*reference, columns);
    const std::vector<float> found = run_join(*card().device, columns);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], 0.008f * std::abs(expected[i]) + 1e-6f)
          << columns << " columns, value " << i;
  }
}

TEST(CudaDrafts, PassesAreThoseOfTheProcessor) {
  NEEDS_CARD();
  using model::testing::worst_draft_error;
  EXPECT_LE(worst_draft_error({.device = card().device}), 0.15);
  EXPECT_LE(worst_draft_error(
                {.device = card().device, .every_second = model::testing::EverySecond::kIsForKeys}),
            0.15);
  EXPECT_LE(worst_draft_error({.device = card().device, .place = "experts=cpu"}), 0.15);
}

// Where the reference's two best are close, rounding decides; up to there all texts are its own.
void expect_text(const std::vector<int32_t>& ids, const nlohmann::json& prompt) {
  const auto greedy = prompt["greedy_ids"].get<std::vector<int32_t>>();
  for (size_t i = 0; i < greedy.size(); ++i) {
    if (ids[i] == greedy[i]) continue;
    EXPECT_LE(prompt["greedy_gap"][i].get<double>(), 0.5) << "token " << i;
    return;
  }
}

TEST(CudaDrafts, TrainedModelGivesTheSameText) {
  NEEDS_CARD();
  const char* folder = std::getenv("SLUICE_TRAINED_DEEPSEEK");
  if (folder == nullptr) GTEST_SKIP() << "SLUICE_TRAINED_DEEPSEEK is not set";
  const std::string goldens = std::string(folder) + "/goldens/tiny-deepseek-v3-fp8.json";
  const std::string trained = std::string(folder) + "/models/tiny-deepseek-v3-fp8";
  for (const std::string& path : {goldens, trained})
    ASSERT_TRUE(std::filesystem::exists(path))
        << "SLUICE_TRAINED_DEEPSEEK is '" << folder << "', which has no " << path
        << ": expected a folder with goldens/ and models/";
  std::ifstream in(goldens);
  const auto golden = nlohmann::json::parse(in);
  for (const char* place : {"", "experts=cpu"}) {
    const auto loaded = engine::testing::load_with_drafts(trained, card().device, place);
    ASSERT_NE(loaded.model, nullptr);
    engine::DraftCounts sum;
    int64_t same = 0, steps = 0, tokens = 0;
    for (const nlohmann::json& prompt : golden["prompts"]) {
      SCOPED_TRACE(prompt["name"].get<std::string>());
      const auto ids = prompt["ids"].get<std::vector<int32_t>>();
      const auto count = static_cast<int32_t>(prompt["greedy_ids"].size());
      if (ids.size() + static_cast<size_t>(count) > 256) continue;
      const auto run = [&](engine::Speculation speculation) {
        return engine::testing::run_prompts(*loaded.model, speculation, {ids}, count);
      };
      const auto plain = run(engine::Speculation::kOff), with = run(engine::Speculation::kMtp);
      expect_text(plain.ids.at(1), prompt);
      expect_text(with.ids.at(1), prompt);
      same += with.ids == plain.ids;
      const auto& counts = with.drafts[static_cast<size_t>(engine::DraftKind::kMtp)];
      sum.drafted += counts.drafted;
      sum.accepted += counts.accepted;
      steps += with.steps;
      tokens += count;
    }
    std::printf(
        "'%s': %lld texts the same, %lld of %lld drafts accepted, %lld tokens in %lld steps\n",
        place, static_cast<long long>(same), static_cast<long long>(sum.accepted),
        static_cast<long long>(sum.drafted), static_cast<long long>(tokens),
        static_cast<long long>(steps));
    EXPECT_GT(sum.drafted, 100);
    // Up to four in a row; of the first alone the reference has five in six right.
    EXPECT_GT(static_cast<double>(sum.accepted), 0.35 * static_cast<double>(sum.drafted));
  }
}

}  // namespace
}  // namespace sluice
