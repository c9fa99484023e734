#include "simulate/modelled_engine.h"

#include <map>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::simulate {
namespace {

EngineModel small_engine() {
  EngineModel model;
  model.kv_tokens = 1000;
  model.sequences_max = 8;
  model.chunk_tokens = 100;
  model.step_ns = 1000.0;
  model.step_stream_ns = 10.0;
  model.prompt_token_ns = 5.0;
  return model;
}

std::vector<EngineEvent> run_out(ModelledEngine* engine) {
  std::vector<EngineEvent> events;
  while (engine->step_end_ns() != ModelledEngine::kNever) engine->end_step(&events);
  return events;
}

TEST(modelled_engine, one_request_takes_what_its_parameters_say) {
  ModelledEngine engine(small_engine());
  ASSERT_TRUE(engine.submit({7, 150, 11}, 5000));
  const auto events = run_out(&engine);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, EngineEvent::Kind::kFirstToken);
  EXPECT_EQ(events[0].request, 7);
  EXPECT_EQ(events[0].at_ns, 5000 + 2 * 1000 + 150 * 5) << "two chunks";
  EXPECT_EQ(events[1].at_ns, events[0].at_ns + 10 * 1010);
}

TEST(modelled_engine, prompts_slow_decodes_down) {
  ModelledEngine alone(small_engine());
  ASSERT_TRUE(alone.submit({1, 10, 20}, 0));
  const int64_t alone_ns = run_out(&alone).back().at_ns;
  ModelledEngine shared(small_engine());
  ASSERT_TRUE(shared.submit({1, 10, 20}, 0));
  ASSERT_TRUE(shared.submit({2, 300, 1}, 1));
  int64_t shared_ns = 0;
  for (const EngineEvent& event : run_out(&shared))
    if (event.request == 1 && event.kind == EngineEvent::Kind::kEnd) shared_ns = event.at_ns;
  EXPECT_EQ(shared_ns, alone_ns + 300 * 5);
}

TEST(modelled_engine, says_busy_at_its_limit) {
  EngineModel model = small_engine();
  model.busy_at = 2;
  ModelledEngine engine(model);
  EXPECT_TRUE(engine.submit({1, 10, 5}, 0));
  EXPECT_TRUE(engine.submit({2, 10, 5}, 0));
  EXPECT_FALSE(engine.submit({3, 10, 5}, 0));
  run_out(&engine);
  EXPECT_TRUE(engine.submit({4, 10, 5}, engine.step_end_ns()));
}

// Whatever arrives: each request ends once, after its first token, and the work that preemption
// repeats is all that more KV saves.
TEST(modelled_engine, every_request_ends_once_also_when_kv_runs_out) {
  const uint64_t seed = 42;
  SCOPED_TRACE(seed);
  for (const int64_t kv_tokens : {600, 1000, 100'000}) {
    core::Rng rng(seed);
    EngineModel model = small_engine();
    model.kv_tokens = kv_tokens;
    ModelledEngine engine(model);
    std::map<int64_t, int> firsts, ends;
    std::vector<EngineEvent> events;
    int64_t now_ns = 0;
    constexpr int64_t kRequests = 300;
    for (int64_t i = 0; i < kRequests; ++i) {
      now_ns += rng.below(20'000);
      while (engine.step_end_ns() <= now_ns) engine.end_step(&events);
      ASSERT_TRUE(engine.submit({i, 1 + rng.below(250), 1 + rng.below(250)}, now_ns));
    }
    while (engine.step_end_ns() != ModelledEngine::kNever) engine.end_step(&events);
    for (const EngineEvent& event : events) {
      if (event.kind == EngineEvent::Kind::kFirstToken) {
        EXPECT_EQ(ends[event.request], 0);
        ++firsts[event.request];
      } else {
        EXPECT_EQ(firsts[event.request], 1);
        ++ends[event.request];
      }
    }
    for (int64_t i = 0; i < kRequests; ++i) EXPECT_EQ(ends[i], 1) << i;
    EXPECT_EQ(engine.sequences(), 0);
    EXPECT_EQ(engine.preemptions() > 0, kv_tokens < 100'000);
  }
}

TEST(modelled_engine, a_copy_runs_ahead_alone) {
  ModelledEngine engine(small_engine());
  ASSERT_TRUE(engine.submit({1, 10, 50}, 0));
  ModelledEngine ahead = engine;
  run_out(&ahead);
  EXPECT_EQ(ahead.sequences(), 0);
  EXPECT_EQ(engine.sequences(), 1);
  EXPECT_EQ(run_out(&engine).size(), 2u);
}

}  // namespace
}  // namespace sluice::simulate
