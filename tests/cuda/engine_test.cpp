// The engine's loop over a tiny model on the card: the same output whether logits come back and
// the host samples, or the card samples, or the next step is submitted before the last one's ids
// are read.
#include <cstdlib>
#include <map>

#include "core/clock.h"
#include "engine/loop.h"
#include "tests/cuda/support.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::engine::testing {
namespace {

enum class Mode { kLogits, kSampled, kAhead };

class CardRunner final : public StepRunner {
 public:
  CardRunner(model::Model& model, Mode mode) : runner_(model), mode_(mode) {}
  RunnerShape shape() const override {
    RunnerShape shape = runner_.shape();
    shape.samples = mode_ != Mode::kLogits;
    shape.goes_ahead = shape.goes_ahead && mode_ == Mode::kAhead;
    return shape;
  }
  void run(const model::StepBatch& batch, float* logits) override { runner_.run(batch, logits); }
  void draft(const model::DraftBatch& batch, float* logits) override {
    runner_.draft(batch, logits);
  }
  void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override {
    if (++under_way_ > 1) ++ahead;
    runner_.submit(batch, sampled);
  }
  void collect(std::span<int32_t> ids) override {
    --under_way_;
    runner_.collect(ids);
  }
  void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
    runner_.submit_draft(batch, vocab);
  }
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
    return runner_.collect_draft(pass, ids);
  }
  int64_t ahead = 0;

 private:
  ModelRunner runner_;
  const Mode mode_;
  int64_t under_way_ = 0;
};

struct Outputs {
  std::map<uint64_t, std::vector<int32_t>> ids;
  double step_us = 0;  // of the last half of the steps, when only few decode
  int64_t ahead = 0;
};

Outputs outputs(model::Model& model, Mode mode, int64_t streams) {
  const int32_t vocab = model.spec().vocab;
  EngineConfig config;
  config.limits = {.sequences_max = streams,
                   .context_tokens_max = 60,
                   .step_tokens_max = 64,
                   .chunk_tokens_max = 16,
                   .kv_pages = model.kv_pages(),
                   .logit_rows_max = 16,
                   .logprobs_top_max = 0};
  config.vocab_tokens = vocab;
  config.end_token_ids = {3};
  const core::SystemClock clock;
  CardRunner runner(model, mode);
  Outputs out;
  const EngineParts parts{.runner = &runner,
                          .pool = &model.pool(),
                          .ops = &model.ops(),
                          .clock = &clock,
                          .sink =
                              [&](const StepEvents& events) {
                                for (const TokenEvent& e : events.tokens)
                                  out.ids[e.id.value].push_back(e.token_id);
                              },
                          .observer = {}};
  Loop loop(config, parts);
  Messages messages;
  for (int64_t s = 0; s < streams; ++s) {
    Request r{.id = {static_cast<uint64_t>(s) + 1}};
    for (int32_t t = 0; t < 5 + s; ++t) r.prompt_ids.push_back((7 * t + 11) % vocab);
    r.sampling = {.temperature = s == 0 ? 0.0f : 0.8f, .seed = static_cast<uint64_t>(s)};
    if (s % 3 == 1) r.sampling.top_k = 10;
    if (s % 3 == 2) r.sampling.top_p = 0.9f;
    r.sampling.end_tokens = SamplingParams::EndTokens::kNever;  // the same batches in each mode
    auto sequence = make_sequence(std::move(r), config, kernels::kPageTokens);
    sequence->arrival = s;
    messages.arrivals.push_back(std::move(sequence));
  }
  constexpr int64_t kWarmSteps = 10;
  int64_t steps = 0, begin_ns = 0;
  for (; loop.has_work() || steps == 0; ++steps) {
    if (steps == kWarmSteps) begin_ns = clock.now_ns();
    loop.step(&messages);
    messages = {};
  }
  out.step_us = static_cast<double>(clock.now_ns() - begin_ns) * 1e-3 /
                static_cast<double>(steps - kWarmSteps);
  out.ahead = runner.ahead;
  return out;
}

// Each mode twice, the first to record its steps.
void compare_modes(const std::string& name, const std::string& path) {
  const model::testing::Loaded loaded = model::testing::load_model(
      path, {.step_tokens_max = 64, .device = kernels::card().device}, 16 * 64);
  ASSERT_NE(loaded.model, nullptr);
  for (const int64_t streams : {1, 7}) {
    std::vector<Outputs> by_mode;
    for (const Mode mode : {Mode::kLogits, Mode::kSampled, Mode::kAhead}) {
      (void)outputs(*loaded.model, mode, streams);
      by_mode.push_back(outputs(*loaded.model, mode, streams));
    }
    EXPECT_EQ(by_mode[0].ids.size(), static_cast<size_t>(streams));
    EXPECT_EQ(by_mode[1].ids, by_mode[0].ids) << name << ", " << streams << " streams";
    EXPECT_EQ(by_mode[2].ids, by_mode[0].ids) << name << ", " << streams << " streams";
    EXPECT_EQ(by_mode[1].ahead, 0);
    EXPECT_GT(by_mode[2].ahead, 20) << name;
    printf("%-10s %d streams, us a step: logits %.1f, sampled there %.1f, ahead %.1f\n",
           name.c_str(), static_cast<int>(streams), by_mode[0].step_us, by_mode[1].step_us,
           by_mode[2].step_us);
  }
}

TEST(CudaEngine, OutputDoesNotDependOnWhereTokensAreSampled) {
  using kernels::card;
  NEEDS_CARD();
  for (const char* name : {"qwen3", "qwen3moe", "deepseek2"})
    compare_modes(name, std::string(model::testing::kModelFolder) + name + ".gguf");
  if (const char* path = std::getenv("SLUICE_CARD_MODEL")) compare_modes("given", path);
}

}  // namespace
}  // namespace sluice::engine::testing
