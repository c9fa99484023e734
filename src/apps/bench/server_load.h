// Streamed chat requests to an OpenAI-compatible server, and what its user would feel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "core/result.h"

namespace sluice::apps {

struct ServerLoadOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string authorities_file{};  // PEM; empty: the system's
  std::string model{};             // empty: the first that it lists
  std::string key{};               // a bearer token; empty: none
  int requests = 32;               // of a row
  int prompt_tokens = 256;         // about
  int max_tokens = 64;
  uint64_t seed = 1;  // of the prompts
};

// Of all requests at one concurrency.
struct ServerRow {
  int concurrency = 0;
  int requests = 0;
  int done = 0;
  int failed = 0;
  std::string first_failure = {};
  int64_t output_tokens = 0;
  double wall_s = 0;
  double output_tok_s = 0;
  double prompt_tokens = 0;  // mean, as the server counts them
  double ttft_p50_ms = 0, ttft_p99_ms = 0;
  double tpot_p50_ms = 0, tpot_p99_ms = 0;
};
nlohmann::ordered_json to_json(const ServerRow& row, const ServerLoadOptions& options);

class ServerLoad {
 public:
  // Finds the model's name where there is none; options() has it then. One request is sent to fit
  // the prompts' length; where it fails, run() will say so.
  static core::Result<std::unique_ptr<ServerLoad>> connect(ServerLoadOptions options);
  ~ServerLoad();

  const ServerLoadOptions& options() const;
  // Prompts are new in each row.
  ServerRow run(int concurrency);

 private:
  struct State;
  explicit ServerLoad(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice::apps
