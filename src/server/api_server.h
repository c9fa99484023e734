// The engine's OpenAI-compatible HTTP API on one event loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/generation_fields.h"
#include "api/generation_response.h"
#include "api/model_list.h"
#include "core/clock.h"
#include "core/result.h"
#include "engine/engine.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "prompt/prompt_builder.h"
#include "server/event_bridge.h"
#include "server/page_journal.h"

namespace sluice::server {

struct ApiServerConfig {
  std::vector<std::string> model_names;  // that requests may ask for; answers carry the first
  std::string model_root;                // what was loaded, for /v1/models
  std::string model_digest;
  std::string version;
  std::vector<std::string> api_keys;  // none: everybody may ask
  std::string gateway_key;            // of the object "sluice" and /internal/events; empty: refused
  std::string allowed_origin = "*";   // CORS; empty: no such headers
  api::RequestLimits request_limits;
  net::ServerLimits http_limits;
  std::shared_ptr<const net::TlsServer> tls;  // none: plain HTTP
  int64_t inline_body_bytes_max = 32 << 10;   // larger ones are prepared on the worker
  int64_t prepare_queue_max = 64;             // of these, waiting; then 503
  int64_t ping_after_ns = 10'000'000'000;     // a silent stream gets a comment at the latest …
  int64_t ping_period_ns = 4'000'000'000;     // … this much after that
  int64_t drain_timeout_ns = 30'000'000'000;
  api::ReasoningField reasoning_field = api::ReasoningField::kReasoningContent;
  int64_t page_tokens = 0;
  uint64_t id_seed = 0;      // of request ids, which clients see (and could compute it from)
  uint64_t secret_seed = 0;  // of cache salts and unseeded sampling; unpredictable in the product
  std::vector<api::Setting> settings;  // for /server_info
};

// Everything outlives the server; the engine's sinks are the bridge and the page journal.
struct ApiServerParts {
  net::EventLoop& loop;
  engine::Engine& engine;
  EventBridge& bridge;
  PageJournal& pages;  // the engine's page sink
  prompt::PromptModel prompt_model;
  const core::Clock& clock;
  std::function<int64_t()> resident_bytes;  // of this process
};

// Why this request gets no answer but an error, whatever its body is: no such path or method here,
// or no valid key. Nothing for the questions of browsers (OPTIONS).
std::optional<api::Error> check_access(const net::Request& request,
                                       std::span<const std::string> api_keys);

// Belongs to the loop's thread.
class ApiServer {
 public:
  ApiServer(ApiServerConfig config, ApiServerParts parts);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  core::Result<uint16_t> listen(std::string_view host, uint16_t port);

  // From now on requests for text get 503 with Retry-After. `on_drained` is called once, when those
  // that run have ended: by themselves, or with an error after drain_timeout_ns.
  void drain(net::Task on_drained);

  struct Impl;  // api_server_impl.h

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::server
