// Requests through an engine in this thread, all at once as a server gets them: how long each
// waited and what the steps took.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "apps/bench/step_shares.h"
#include "core/clock.h"
#include "engine/engine.h"
#include "engine/loop.h"

namespace sluice::apps {

struct Load {
  std::vector<std::vector<int32_t>> prompts{};  // of each stream
  int64_t answer_tokens = 0;                    // of each; end tokens do not end it
  float temperature = 0;                        // stream n has seed n
};

struct LoadTimes {
  std::vector<engine::FinishEvent> ends;      // by stream
  std::vector<std::vector<int32_t>> answers;  // by stream
  double wall_s = 0;                          // from the first submission to the last end
  double prefill_s = 0;                       // to the last stream's first token
  int64_t later_tokens = 0;                   // of all streams, after that

  int64_t answer_tokens() const;
  double later_tok_s() const { return static_cast<double>(later_tokens) / (wall_s - prefill_s); }
};

// Steps in which every stream of a load decodes one token.
struct DecodeSteps {
  int64_t count = 0;
  int64_t context_tokens = 0;  // keys and values that they read, of all streams
  int64_t forward_ns = 0;
  int64_t sampling_ns = 0;
  int64_t other_ns = 0;  // scheduling, events

  double mean_us(int64_t ns) const {
    return static_cast<double>(ns) * 1e-3 / static_cast<double>(count);
  }
  double step_us() const { return mean_us(forward_ns + sampling_ns + other_ns); }
};

// What a profile saw in such steps.
struct DecodeProfile {
  StepShares shares;
  double expert_ratio = 1;   // ExpertCount::ratio()
  double resident_hits = 0;  // share of the choices whose expert the device had besides
  double pulled_share = 0;   // of the other experts what came over the link
};

enum class PrefixCache : uint8_t { kKeep, kForget };

class EngineLoad {
 public:
  struct Config {
    int64_t streams = 1;
    int64_t tokens_max = 0;  // of a prompt and its answer
    int64_t step_tokens_max = 0;
    engine::Speculation speculation = engine::Speculation::kOff;
  };
  // KV that run() needs, in tokens: a load's, and what the cache keeps of the one before.
  static int64_t kv_tokens(const Config& config, int64_t answer_tokens);

  // allocate_kv() was called; the model outlives this.
  EngineLoad(model::Model& model, const Config& config);

  LoadTimes run(const Load& load, PrefixCache before);
  // Of the last run().
  const DecodeSteps& decode() const { return decode_; }
  // A run that is slowed down a little by what it measures.
  DecodeProfile profile(const Load& load);

  const engine::EngineStats& stats() const { return loop_.stats(); }

 private:
  // Passes steps on, with a profile where one is asked for.
  class Runner final : public engine::StepRunner {
   public:
    Runner(model::Model& model, const core::Clock& clock);

    engine::RunnerShape shape() const override { return runner_.shape(); }
    void run(const model::StepBatch& batch, float* logits) override;
    void draft(const model::DraftBatch& batch, float* logits) override {
      runner_.draft(batch, logits);
    }
    model::ResidentCounts resident_counts() const override { return runner_.resident_counts(); }
    void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override;
    void collect(std::span<int32_t> ids) override;
    void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
      runner_.submit_draft(batch, vocab);
    }
    int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
      return runner_.collect_draft(pass, ids);
    }

    void start_profile(int64_t streams);
    DecodeProfile take_profile();

   private:
    bool is_profiled(const model::StepBatch& batch) const;
    model::StepBatch watch(const model::StepBatch& batch);

    engine::ModelRunner runner_;
    int64_t profiled_streams_ = 0;  // 0: no profile
    int64_t profiled_steps_ = 0;
    int64_t profiled_ns_ = 0;
    int64_t submitted_ns_ = 0;  // of a profiled step under way; 0: none
    size_t rows_ = 0;           // of the step under way
    model::StepProfile profile_;
    const int32_t experts_;
    ExpertCount chosen_;
    const model::RoutingObserver routing_;
  };

  void submit(const Load& load, engine::Messages* messages);
  void take(const engine::StepEvents& events);
  void observe(const engine::StepRecord& record);

  const core::SystemClock clock_;
  Runner runner_;
  const engine::EngineConfig config_;
  const engine::EngineParts parts_;
  engine::Loop loop_;
  int64_t arrivals_ = 0;

  int64_t begin_ns_ = 0;  // of the run
  int64_t streams_begun_ = 0;
  LoadTimes times_;
  DecodeSteps decode_;
};

}  // namespace sluice::apps
