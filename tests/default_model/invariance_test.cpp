// A row's logits are the same bits alone, beside other sequences, and however its prompt was cut.
// On the default model (SLUICE_MODEL) with every kernel table that this machine can run.
#include <cstdlib>
#include <cstring>

#include "core/cpu.h"
#include "core/rng.h"
#include "kernels/registry.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

constexpr int32_t kStepTokens = 512;
constexpr int32_t kPromptTokens = kSanitized ? 100 : 600;
constexpr int32_t kStreams = 8;
constexpr int32_t kSteps = 4;

class Invariance : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (std::getenv("SLUICE_MODEL") == nullptr)
      FAIL() << "SLUICE_MODEL is not set: `make model` fetches it, `make test` sets it";
    if (kSanitized && GetParam() == "ref") GTEST_SKIP() << "too slow with a sanitizer";
    loaded_ = load_model(std::getenv("SLUICE_MODEL"),
                         {.threads = 2, .step_tokens_max = kStepTokens, .kernels = GetParam()},
                         kStreams * (kPromptTokens + kSteps + kernels::kPageTokens));
    ASSERT_NE(loaded_.model, nullptr);
  }

  Model& model() { return *loaded_.model; }
  size_t vocab() { return static_cast<size_t>(model().spec().vocab); }

  // Prompts differ between streams; so do their lengths.
  std::vector<int32_t> ids(int32_t stream, int32_t count) {
    core::Rng rng(static_cast<uint64_t>(stream) + 1);
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < count; ++i)
      ids.push_back(static_cast<int32_t>(rng.below(model().spec().vocab)));
    return ids;
  }

  SingleSequence sequence(int32_t stream) {
    const int32_t pages = (kPromptTokens + kSteps) / kernels::kPageTokens + 1;
    return {model(), stream * pages, kPromptTokens + kSteps};
  }

  std::vector<float> chunked(std::span<const int32_t> prompt, int32_t chunk) {
    std::vector<float> logits(vocab());
    sequence(0).append({.ids = prompt, .chunk = chunk, .logit_count = 1}, logits.data());
    return logits;
  }

  Loaded loaded_;
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST_P(Invariance, ChunksOf16And512AndOneGiveTheSameBits) {
  const int32_t count = GetParam() == "ref" ? 60 : kPromptTokens;
  const auto prompt = ids(0, count);
  const auto whole = chunked(prompt, kStepTokens);
  EXPECT_TRUE(same_bits(whole, chunked(prompt, 16)));
  EXPECT_TRUE(same_bits(whole, chunked(prompt, 37)));
  const auto head = std::span(prompt).first(40);
  EXPECT_TRUE(same_bits(chunked(head, kStepTokens), chunked(head, 1)));
}

TEST_P(Invariance, EightStreamsTogetherGiveTheBitsOfEachAlone) {
  const auto length = [](int32_t stream) { return 5 + 11 * stream; };
  std::vector<std::vector<float>> alone;  // after the prompt and each step
  for (int32_t s = 0; s < kStreams; ++s) {
    const auto all = ids(s, length(s) + kSteps);
    auto& logits = alone.emplace_back((kSteps + 1) * vocab());
    sequence(s).append({.ids = all, .chunk = kStepTokens, .logit_count = kSteps + 1},
                       logits.data());
  }

  // Step 0 has all prompts at once, each later one a token of each stream.
  std::vector<SingleSequence> sequences;
  for (int32_t s = 0; s < kStreams; ++s) sequences.push_back(sequence(s));
  std::vector<float> logits(kStreams * vocab());
  for (int32_t step = 0; step <= kSteps; ++step) {
    std::vector<int32_t> step_ids, rows;
    std::vector<SequenceSpan> spans;
    for (int32_t s = 0; s < kStreams; ++s) {
      const auto all = ids(s, length(s) + kSteps);
      const auto first = static_cast<int32_t>(step_ids.size());
      if (step == 0)
        step_ids.insert(step_ids.end(), all.begin(), all.begin() + length(s));
      else
        step_ids.push_back(all[static_cast<size_t>(length(s) + step - 1)]);
      const int32_t count = static_cast<int32_t>(step_ids.size()) - first;
      spans.push_back(sequences[static_cast<size_t>(s)].span(first, count));
      sequences[static_cast<size_t>(s)].advance(count);
      rows.push_back(first + count - 1);
    }
    model().forward({.token_ids = step_ids, .sequences = spans, .logit_rows = rows}, logits.data());
    for (size_t s = 0; s < kStreams; ++s)
      EXPECT_TRUE(
          same_bits(std::span(logits).subspan(s * vocab(), vocab()),
                    std::span(alone[s]).subspan(static_cast<size_t>(step) * vocab(), vocab())))
          << "stream " << s << ", step " << step;
  }
}

TEST_P(Invariance, TheNumberOfThreadsDoesNotMatter) {
  const auto prompt = ids(0, 60);
  const auto two = chunked(prompt, kStepTokens);
  loaded_ = load_model(std::getenv("SLUICE_MODEL"),
                       {.threads = 3, .step_tokens_max = kStepTokens, .kernels = GetParam()},
                       kPromptTokens + 2 * kernels::kPageTokens);
  ASSERT_NE(loaded_.model, nullptr);
  EXPECT_TRUE(same_bits(two, chunked(prompt, 16)));
}

std::vector<std::string> tables_here() {
  std::vector<std::string> names;
  for (const kernels::Ops* ops : kernels::all_ops())
    if (ops->needs(core::detect_cpu())) names.emplace_back(ops->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Tables, Invariance, ::testing::ValuesIn(tables_here()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sluice::model::testing
