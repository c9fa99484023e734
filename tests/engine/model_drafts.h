// A few greedy and sampled requests through the engine's loop over a model, with drafts of a kind.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "engine/loop.h"
#include "tests/model/harness.h"

namespace sluice::engine::testing {

// Where tokens are chosen, those of drafts too: where the model runs, or from its logits.
enum class Sampling { kWhereItRuns, kOnHost };

// Every step takes as long as any other: as many drafts as there are rows for.
class FlatRunner final : public StepRunner {
 public:
  FlatRunner(model::Model& model, core::ManualClock& clock, Sampling sampling)
      : runner_(model), clock_(clock), sampling_(sampling) {}
  RunnerShape shape() const override {
    RunnerShape shape = runner_.shape();
    if (sampling_ == Sampling::kOnHost) shape.samples = shape.goes_ahead = false;
    return shape;
  }
  void run(const model::StepBatch& batch, float* logits) override {
    runner_.run(batch, logits);
    clock_.advance_ns(1'000'000);
  }
  void draft(const model::DraftBatch& batch, float* logits) override {
    runner_.draft(batch, logits);
    const auto columns = static_cast<size_t>(shape().logit_columns);
    for (size_t i = 0; logits != nullptr && i < batch.sequences.size(); ++i) {
      const float* first = logits + i * columns;
      drafted.push_back(static_cast<int32_t>(std::max_element(first, first + columns) - first));
    }
    clock_.advance_ns(1'000);
  }
  void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override {
    runner_.submit(batch, sampled);
  }
  void collect(std::span<int32_t> ids) override {
    runner_.collect(ids);
    clock_.advance_ns(1'000'000);
  }
  void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
    runner_.submit_draft(batch, vocab);
    clock_.advance_ns(1'000);
  }
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
    (void)runner_.collect_draft(pass, ids);
    drafted.insert(drafted.end(), ids.begin(), ids.end());
    return 1'000;
  }

  std::vector<int32_t> drafted;  // by pass and sequence

 private:
  ModelRunner runner_;
  core::ManualClock& clock_;
  const Sampling sampling_;
};

inline model::testing::Loaded load_with_drafts(const std::string& path,
                                               std::shared_ptr<kernels::Device> device,
                                               const std::string& place,
                                               model::testing::Devices other_cards = {}) {
  return model::testing::load_model(path,
                                    {.threads = 2,
                                     .step_tokens_max = 64,
                                     .drafts = model::DraftLayers::kLoad,
                                     .device = std::move(device),
                                     .other_cards = std::move(other_cards),
                                     .placement = model::Placement::parse(place).value()},
                                    16 * 64);
}

struct ModelRun {
  std::map<uint64_t, std::vector<int32_t>> ids;  // by request
  std::array<DraftCounts, kDraftKinds> drafts{};
  std::vector<int32_t> drafted;  // tokens, by pass and sequence
  int64_t steps = 0;
};

// `prompts`, one sequence each; every third is sampled.
inline ModelRun run_prompts(model::Model& model, Speculation speculation,
                            const std::vector<std::vector<int32_t>>& prompts, int32_t tokens,
                            Sampling sampling = Sampling::kWhereItRuns) {
  EngineConfig config;
  config.limits = {.sequences_max = 4,
                   .context_tokens_max = 256,
                   .step_tokens_max = 64,
                   .chunk_tokens_max = 48,
                   .kv_pages = model.kv_pages(),
                   .logit_rows_max = 4 + kDraftRowsMax,
                   .logprobs_top_max = 0};
  config.vocab_tokens = model.spec().vocab;
  config.speculation = speculation;
  core::ManualClock clock;
  FlatRunner runner(model, clock, sampling);
  ModelRun run;
  const EngineParts parts{.runner = &runner,
                          .pool = &model.pool(),
                          .ops = &model.ops(),
                          .clock = &clock,
                          .sink =
                              [&](const StepEvents& events) {
                                for (const TokenEvent& e : events.tokens)
                                  run.ids[e.id.value].push_back(e.token_id);
                              },
                          .observer = {}};
  Loop loop(config, parts);
  Messages messages;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request r{.id = {i + 1}, .prompt_ids = prompts[i]};
    r.sampling = {.temperature = i % 3 == 2 ? 0.8f : 0.0f, .seed = i, .max_tokens = tokens};
    r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
    auto sequence = make_sequence(std::move(r), config, kernels::kPageTokens);
    sequence->arrival = static_cast<int64_t>(i);
    messages.arrivals.push_back(std::move(sequence));
  }
  do {
    loop.step(&messages);
    messages = {};
  } while (loop.has_work());
  run.drafts = loop.stats().drafts;
  run.drafted = std::move(runner.drafted);
  run.steps = loop.stats().steps;
  return run;
}

inline ModelRun run_model(model::Model& model, Speculation speculation,
                          Sampling sampling = Sampling::kWhereItRuns) {
  std::vector<std::vector<int32_t>> prompts(5);
  for (size_t i = 0; i < prompts.size(); ++i)
    for (size_t t = 0; t < 5 + 12 * i; ++t)
      prompts[i].push_back(static_cast<int32_t>((7 * t + 11 * i) % 60));
  return run_prompts(model, speculation, prompts, 60, sampling);
}

}  // namespace sluice::engine::testing
