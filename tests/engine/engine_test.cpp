// The engine with its thread: admission, messages from other threads, the end.
#include "engine/engine.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

// Steps can be held back, so that a test knows what is running.
class EngineTest : public ::testing::Test {
 protected:
  void start(EngineConfig config) {
    config_ = config;
    runner_ = std::make_unique<FakeRunner>(config.limits.kv_pages);
    runner_->on_run = [this](const model::StepBatch&) {
      std::unique_lock lock(mutex_);
      ++steps_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
    };
    engine_ = std::make_unique<Engine>(
        config, EngineParts{.runner = runner_.get(),
                            .pool = &pool_,
                            .ops = &kernels::reference_ops(),
                            .clock = &clock_,
                            .sink =
                                [this](const StepEvents& e) {
                                  std::lock_guard lock(mutex_);
                                  outcomes_.take(e);
                                  ended_ += static_cast<int64_t>(e.finished.size());
                                  changed_.notify_all();
                                },
                            .observer = {}});
  }
  void TearDown() override { open(); }

  void close() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_steps(int64_t steps) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return steps_ >= steps; });
  }
  void wait_ended(int64_t requests) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ >= requests; });
  }
  void wait_retired() {
    while (engine_->live_requests() > 0) std::this_thread::yield();
  }
  Admission submit(Request r) { return engine_->submit({std::move(r)}); }
  Request request(uint64_t id, int64_t max_tokens) {
    Request r{.id = {id}, .prompt_ids = prompt(id, 20), .sampling = greedy(max_tokens)};
    r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
    return r;
  }

  EngineConfig config_;
  core::SystemClock clock_;
  core::ThreadPool pool_{2};
  std::unique_ptr<FakeRunner> runner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int64_t steps_ = 0;
  int64_t ended_ = 0;
  Outcomes outcomes_;
  std::unique_ptr<Engine> engine_;  // last: it stops before the rest goes
};

TEST(SetVocabulary, TakesTheIdsThatTokenizerAndModelHave) {
  const std::vector<int32_t> ends = {2, 11};
  EngineConfig config;
  for (const auto& [tokens, columns] : {std::pair<int64_t, int64_t>{12, 16}, {16, 12}, {12, 12}}) {
    config.limits.logprobs_top_max = 20;
    ASSERT_TRUE(set_vocabulary({tokens, columns, ends}, &config).ok());
    EXPECT_EQ(config.vocab_tokens, 12);
    EXPECT_EQ(config.end_token_ids, ends);
    EXPECT_EQ(config.limits.logprobs_top_max, 12) << "more alternatives than ids";
  }
  ASSERT_TRUE(set_vocabulary({50, 50, ends}, &config).ok());
  EXPECT_EQ(config.limits.logprobs_top_max, 12);
}

TEST(SetVocabulary, RefusesAnEndTokenWithoutALogit) {
  const std::vector<int32_t> ends = {2, 11};
  EngineConfig config;
  const auto refused = set_vocabulary({16, 11, ends}, &config);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "end token 11: the vocabulary has 16 tokens, the output matrix 11 rows");
  EXPECT_FALSE(set_vocabulary({0, 8, {}}, &config).ok());
}

TEST_F(EngineTest, ServesManyThreads) {
  start(fake_config());
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 25;
  std::vector<std::thread> clients;
  for (uint64_t t = 0; t < kThreads; ++t)
    clients.emplace_back([&, t] {
      for (uint64_t i = 1; i <= kEach; ++i) {
        EXPECT_EQ(submit(request(1000 * t + i, 20)), Admission::kAccepted);
        if (i % 5 == 0) engine_->cancel({1000 * t + i - 2});
        if (i % 7 == 0) engine_->stats();
      }
    });
  for (std::thread& c : clients) c.join();
  wait_ended(kThreads * kEach);
  wait_retired();
  for (const auto& [id, o] : outcomes_.all()) {
    std::vector<int32_t> want = expected_output(request(id, 20), config_);
    if (o.finish->reason == FinishReason::kCancelled) want.resize(o.ids.size());
    EXPECT_EQ(o.ids, want);
  }
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.pages_used, 0);
}

TEST_F(EngineTest, TheQueueHasAnEdge) {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 2;
  config.limits.queue_max = 3;
  start(config);
  close();
  for (uint64_t id = 1; id <= 5; ++id) EXPECT_EQ(submit(request(id, 5)), Admission::kAccepted);
  EXPECT_EQ(submit(request(6, 5)), Admission::kQueueFull);
  EXPECT_EQ(engine_->live_requests(), 5);
  engine_->cancel({5});
  open();
  wait_ended(5);
  wait_retired();
  EXPECT_EQ(submit(request(6, 5)), Admission::kAccepted);
}

TEST_F(EngineTest, RequestsSubmittedTogetherAreAllAcceptedOrNone) {
  EngineConfig config = fake_config();
  config.limits.sequences_max = 1;
  config.limits.queue_max = 2;
  start(config);
  close();
  EXPECT_EQ(engine_->submit({request(1, 5), request(2, 5)}), Admission::kAccepted);
  EXPECT_EQ(engine_->submit({request(3, 5), request(4, 5)}), Admission::kQueueFull);
  EXPECT_EQ(engine_->live_requests(), 2);
}

TEST_F(EngineTest, RefusesWhatItCannotServe) {
  start(fake_config());
  const auto with_prompt = [&](std::vector<int32_t> ids, int64_t max_tokens) {
    return submit({.id = {99}, .prompt_ids = std::move(ids), .sampling = greedy(max_tokens)});
  };
  EXPECT_EQ(with_prompt({}, 5), Admission::kBadPrompt);
  EXPECT_EQ(with_prompt({5, -1}, 5), Admission::kBadPrompt);
  EXPECT_EQ(with_prompt({5, kFakeVocab}, 5), Admission::kBadPrompt);
  EXPECT_EQ(with_prompt(prompt(1, 200), 1), Admission::kTooLong);
  EXPECT_EQ(with_prompt(prompt(1, 201), 0), Admission::kTooLong);
  EXPECT_EQ(with_prompt(prompt(1, 199), 1), Admission::kAccepted);
}

TEST_F(EngineTest, DrainsToTheEnd) {
  start(fake_config());
  close();
  for (uint64_t id = 1; id <= 20; ++id) submit(request(id, 10));
  engine_->drain();
  EXPECT_EQ(submit(request(50, 10)), Admission::kDraining);
  EXPECT_TRUE(engine_->stats().draining);
  open();
  wait_ended(20);
  for (const auto& [id, o] : outcomes_.all()) EXPECT_EQ(o.finish->reason, FinishReason::kLength);
}

TEST_F(EngineTest, StopCancelsWhatIsLive) {
  start(fake_config());
  close();
  for (uint64_t id = 1; id <= 12; ++id) submit(request(id, 100));
  wait_steps(1);
  std::thread opener([&] { open(); });
  engine_->stop();
  opener.join();
  EXPECT_EQ(engine_->live_requests(), 0);
  ASSERT_EQ(outcomes_.all().size(), 12u);
  for (const auto& [id, o] : outcomes_.all()) EXPECT_TRUE(o.finish.has_value());
  EXPECT_EQ(submit(request(13, 1)), Admission::kDraining);
  engine_->stop();
}

TEST_F(EngineTest, AStopStringEndsARequestEarly) {
  start(fake_config());
  close();
  submit(request(1, 150));
  wait_steps(1);
  engine_->finish_early({1});
  engine_->cancel({1});
  open();
  wait_ended(1);
  EXPECT_EQ(outcomes_.of({1}).finish->reason, FinishReason::kStop) << "the first end counts";
  EXPECT_LE(outcomes_.of({1}).ids.size(), 2u);
}

TEST_F(EngineTest, FlushIsAMessageToo) {
  start(fake_config());
  submit(request(1, 40));
  wait_ended(1);
  wait_retired();
  EXPECT_GT(engine_->stats().pages_cached, 0);
  engine_->flush_cache();
  while (engine_->stats().pages_cached > 0) std::this_thread::yield();
}

TEST_F(EngineTest, AnIdIsLiveOnce) {
  start(fake_config());
  close();
  submit(request(1, 5));
  EXPECT_DEATH(submit(request(1, 5)), "request 1 is live already");
}

}  // namespace
}  // namespace sluice::engine::testing
