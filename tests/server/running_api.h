// The API over a tiny model with a vocabulary of its own, on a thread, and a client of its streams.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/thread_pool.h"
#include "engine/engine.h"
#include "engine/step_runner.h"
#include "net/blocking_client.h"
#include "server/api_server.h"
#include "server/page_journal.h"
#include "tests/model/harness.h"
#include "tests/net/peers.h"

namespace sluice::server::testing {

inline constexpr std::string_view kGatewayKey = "a key that a test may know";

// Ids of the vocabulary that tests name.
inline constexpr int32_t kEnd = 0;
inline constexpr int32_t kThink = 2;
inline constexpr int32_t kFirstLetter = 11;  // "a", then "b" …

const tokenizer::Vocabulary& tiny_vocabulary();

struct ApiOptions {
  std::string gateway_key{kGatewayKey};
  int64_t kv_pages = 64;
  int64_t sequences_max = 8;
  int64_t page_changes_max = 1024;
};

// A step begins when what the last one brought has been sent: an event of a stream has one token.
class PacedRunner final : public engine::StepRunner {
 public:
  PacedRunner(model::Model& model, net::EventLoop& loop) : runner_(model), loop_(loop) {}
  engine::RunnerShape shape() const override { return runner_.shape(); }
  void run(const model::StepBatch& batch, float* logits) override;
  void draft(const model::DraftBatch& batch, float* logits) override {
    runner_.draft(batch, logits);
  }

 private:
  engine::ModelRunner runner_;
  net::EventLoop& loop_;
};

class RunningApi {
 public:
  explicit RunningApi(const ApiOptions& options = {});
  ~RunningApi();

  uint16_t port() const { return port_; }
  engine::Engine& engine() { return *engine_; }
  void drain();  // to its end

  // POST with the gateway's key.
  net::Response post(const std::string& path, const nlohmann::json& body) const;
  net::Response post(const std::string& path, const nlohmann::json& body,
                     std::span<const net::Header> headers) const;

 private:
  model::testing::Loaded loaded_;
  core::SystemClock clock_;
  PageJournal pages_;
  net::LoopThread thread_;
  EventBridge bridge_;
  std::unique_ptr<PacedRunner> runner_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<ApiServer> server_;
  uint16_t port_ = 0;
};

// What one event of a stream brought.
struct Chunk {
  std::string text;
  std::string reasoning;
  std::vector<int32_t> ids;
  nlohmann::json finish;  // its reason and stop_reason; null until the last one
  bool names_the_role = false;
};

struct Stream {
  std::vector<Chunk> chunks;
  nlohmann::json usage;
  nlohmann::json error;

  std::string text(size_t from, size_t to) const;
  std::string reasoning(size_t from, size_t to) const;
  std::vector<int32_t> ids(size_t from, size_t to) const;
};

// Reads the body of an answer with "stream" and stream_options.include_usage.
Stream read_stream(const std::string& body);

}  // namespace sluice::server::testing
