// What `sluice up` is told, and the gateway and the engine that it comes to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/gateway/data_loop.h"
#include "apps/gateway/gateway_secrets.h"
#include "apps/model/serve_options.h"
#include "apps/process/supervisor.h"

namespace sluice::apps {

struct UpOptions {
  ServeOptions serve;
  std::string data_folder;
  int admin_port = 0;  // on 127.0.0.1; 0: a free one
  int64_t held_max = 256;
  double hold_timeout_s = 30;
};
void add_up_options(CLI::App& app, UpOptions* options);

// The engine's process as it stands. Each start is another replica: what was learnt of one that
// died, and requests that have failed there, do not hang on the next.
struct EngineState {
  int64_t start = 1;
  std::optional<net::Endpoint> endpoint;  // none: it is not ready
  int64_t ready_at_unix_ns = 0;           // then
};

// The gateway's configuration: one pool, the model under each of its names with the engine as its
// replica, and the keys that the command line names.
struct UpConfig {
  gateway::GatewayConfig gateway;
  Secrets secrets;
};
UpConfig make_up_config(const UpOptions& options, const std::string& engine_key,
                        const EngineState& engine);
core::Result<FrontOptions> make_front_options(const UpOptions& options);

// `sluice serve` with the options of `app`, on a free port of this machine, for nobody but who has
// the key. The file holds the same key.
core::Result<ProcessSpec> make_engine_spec(const CLI::App& app, const UpOptions& options,
                                           const std::string& engine_key,
                                           const std::string& engine_key_file);

}  // namespace sluice::apps
