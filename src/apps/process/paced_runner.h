// Steps that take at least a given time: an engine that leaves its machine to others, or that
// stands for a smaller one.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <thread>

#include "core/clock.h"
#include "engine/step_runner.h"

namespace sluice::apps {

class PacedRunner final : public engine::StepRunner {
 public:
  // Both outlive it. step_least_ns 0: each step takes what it takes.
  PacedRunner(engine::StepRunner& runner, const core::Clock& clock, int64_t step_least_ns)
      : runner_(runner), clock_(clock), step_least_ns_(step_least_ns) {}

  engine::RunnerShape shape() const override {
    engine::RunnerShape shape = runner_.shape();
    if (step_least_ns_ > 0) shape.samples = shape.goes_ahead = false;  // run() is what waits
    return shape;
  }
  // The engine takes no message while it waits: a step is the least time of a cancel as well.
  void run(const model::StepBatch& batch, float* logits) override {
    const int64_t end_ns = clock_.now_ns() + step_least_ns_;
    runner_.run(batch, logits);
    const int64_t left_ns = end_ns - clock_.now_ns();
    if (left_ns > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left_ns));
  }
  // Behind the step that it belongs to.
  void draft(const model::DraftBatch& batch, float* logits) override {
    runner_.draft(batch, logits);
  }
  void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override {
    runner_.submit(batch, sampled);
  }
  void collect(std::span<int32_t> ids) override { runner_.collect(ids); }
  void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
    runner_.submit_draft(batch, vocab);
  }
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
    return runner_.collect_draft(pass, ids);
  }
  model::ResidentCounts resident_counts() const override { return runner_.resident_counts(); }

 private:
  engine::StepRunner& runner_;
  const core::Clock& clock_;
  const int64_t step_least_ns_;
};

}  // namespace sluice::apps
