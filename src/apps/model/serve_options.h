// The options of `sluice serve` and of `sluice up`, every limit among them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/model/served_model.h"
#include "core/log.h"
#include "core/result.h"
#include "server/api_server.h"

namespace sluice::apps {

struct ServeOptions {
  ServedModelOptions served;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::vector<std::string> model_names;  // none: the file's name
  std::vector<std::string> api_keys;
  std::string gateway_key_file;  // empty: no gateway is known
  net::TlsServerFiles tls;       // empty: plain HTTP
  std::string allowed_origin = "*";
  std::string reasoning = "auto";                     // or off
  std::string reasoning_field = "reasoning_content";  // or reasoning
  double step_ms_min = 0;
  double drain_timeout_s = 30;
  double ping_after_s = 10;
  std::string body_max = "32MiB";
  std::string request_max = "";  // half more than body_max
  std::string header_max = "64KiB";
  std::string send_buffer_max = "8MiB";
  double header_timeout_s = 10;
  double body_timeout_s = 30;
  double idle_timeout_s = 60;
  double write_stall_timeout_s = 60;
  server::ApiServerConfig config;  // the limits that are plain numbers
};

// Those of `serve` that `up` has too.
void add_serve_options(CLI::App& app, ServeOptions* options);

core::Result<net::ServerLimits> make_http_limits(const ServeOptions& options);
// Null where no certificate is given.
core::Result<std::shared_ptr<net::TlsServer>> make_tls(const ServeOptions& options);
// SIGTERM and SIGINT; with TLS also SIGHUP, on which new connections show the certificate that the
// files hold then.
std::vector<int> handled_signals(const std::shared_ptr<net::TlsServer>& tls);
void reload_tls(net::TlsServer* tls, const core::Logger& log);
// SLUICE_API_KEY keeps a key out of the list of processes.
std::vector<std::string> keys_of(const ServeOptions& options);
// Of the system: nobody can guess it.
uint64_t random_seed();
// What requests may call the model where no name is given: the file's.
std::string default_model_name(const ServeOptions& options);

// Everything but the seeds. An Error names the option.
core::Result<server::ApiServerConfig> make_server_config(const ServeOptions& options,
                                                         const ServedModel& served);

}  // namespace sluice::apps
