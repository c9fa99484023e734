// A step that starts no request allocates nothing.
#include <atomic>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace {

std::atomic<int64_t> allocations = 0;

}  // namespace

// All forms that the library uses are replaced; the compiler does not see it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

void* operator new(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  std::abort();
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return operator new(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace sluice::engine::testing {
namespace {

struct Counted {
  int64_t allocations = 0;
  int64_t tokens = 0;
  int64_t preemptions = 0;
};

// 300 steps of eight sequences that have all computed their prompts.
Counted count_steady_steps(int64_t kv_pages, Speculation speculation = Speculation::kOff) {
  EngineConfig config = fake_config();
  config.speculation = speculation;
  config.limits.context_tokens_max = 600;
  config.limits.kv_pages = kv_pages;
  core::ManualClock clock;
  core::ThreadPool pool(2);
  FakeRunner runner(config.limits.kv_pages, 512, speculation != Speculation::kOff);
  runner.on_run = [&](const model::StepBatch& batch) {
    clock.advance_ns(10'000 + std::ssize(batch.token_ids));
  };
  int64_t tokens = 0;
  const EngineParts parts{
      .runner = &runner,
      .pool = &pool,
      .ops = &kernels::reference_ops(),
      .clock = &clock,
      .sink = [&](const StepEvents& e) { tokens += static_cast<int64_t>(e.tokens.size()); },
      .observer = {}};
  Loop loop(config, parts);
  Messages messages;
  for (uint64_t i = 0; i < 8; ++i) {
    Request r{.id = {i}, .prompt_ids = prompt(i, 50), .sampling = {.seed = i, .max_tokens = 500}};
    r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
    r.sampling.logprobs_top = static_cast<int32_t>(i % 4) - 1;
    if (i % 2 == 0) r.sampling.top_p = 0.8f;
    if (i % 3 == 0) r.sampling.frequency_penalty = 0.5f;
    if (i % 4 == 0) r.sampling.top_k = 7;
    messages.arrivals.push_back(make_sequence(r, config, kFakePageTokens));
    messages.arrivals.back()->arrival = static_cast<int64_t>(i);
    loop.step(&messages);  // one at a time: only preempted ones wait in numbers
    messages.arrivals.clear();
  }
  while (loop.stats().prompt_tokens < 8 * 50) loop.step(&messages);
  const Counted before = {allocations.load(), tokens, loop.stats().preemptions};
  for (int i = 0; i < 300; ++i) loop.step(&messages);
  return {allocations.load() - before.allocations, tokens - before.tokens,
          loop.stats().preemptions - before.preemptions};
}

TEST(Allocation, NoneInASteadyStep) {
  const Counted c = count_steady_steps(700);
  EXPECT_EQ(c.allocations, 0);
  EXPECT_EQ(c.tokens, 8 * 300);
  EXPECT_EQ(c.preemptions, 0);
}

TEST(Allocation, NoneWhenSequencesArePreempted) {
  const Counted c = count_steady_steps(100);
  EXPECT_EQ(c.allocations, 0);
  EXPECT_GT(c.tokens, 300);
  EXPECT_GT(c.preemptions, 3);
}

TEST(Allocation, NoneWithDrafts) {
  const Counted c = count_steady_steps(700, Speculation::kAuto);
  EXPECT_EQ(c.allocations, 0);
  EXPECT_GT(c.tokens, 8 * 310) << "several tokens a step";
}

}  // namespace
}  // namespace sluice::engine::testing
