#include "apps/model/serve_options.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>

#include <CLI/CLI.hpp>

#include "apps/model/byte_size.h"
#include "formats/byte_source.h"

namespace sluice::apps {
namespace {

int64_t ns(double seconds) {
  return static_cast<int64_t>(seconds * 1e9);
}

void add_limits(CLI::App& app, ServeOptions* options) {
  const auto count = [&](const char* name, auto* value, int64_t most, const char* help) {
    app.add_option(name, *value, help)
        ->capture_default_str()
        ->check(CLI::Range(int64_t{1}, most))
        ->group("Limits of a request (beyond: 400)");
  };
  api::RequestLimits& request = options->config.request_limits;
  count("--messages-max", &request.messages_max, 1 << 20, "messages of a conversation");
  count("--prompts-max", &request.prompts_max, 1 << 16, "prompts of one completions request");
  count("--n-max", &request.n_max, 1 << 10, "answers to one prompt");
  count("--choices-max", &request.choices_max, 1 << 16, "prompts times answers");
  count("--stops-max", &request.stops_max, 1 << 10, "stop strings");
  count("--stop-bytes-max", &request.stop_bytes_max, 1 << 16, "bytes of a stop string");
  count("--stop-token-ids-max", &request.stop_token_ids_max, 1 << 16, "stop token ids");
  count("--logit-biases-max", &request.logit_biases_max, 1 << 20, "entries of logit_bias");
  count("--top-logprobs-max", &request.top_logprobs_max, 20, "alternatives of a token");

  const auto connection = [&](const char* name, auto* value, const char* help) {
    return app.add_option(name, *value, help)
        ->capture_default_str()
        ->group("Limits of a connection");
  };
  net::ServerLimits& http = options->config.http_limits;
  connection("--body-max", &options->body_max, "bytes of a request's body; beyond: 413");
  connection("--request-max", &options->request_max,
             "bytes of all requests that are being received or wait for their answer; beyond: 503; "
             "half more than --body-max if not given");
  connection("--header-max", &options->header_max, "bytes of its headers; beyond: 431");
  connection("--headers-max", &http.headers_max, "their number; beyond: 431")
      ->check(CLI::Range(8, 1 << 16));
  connection("--send-buffer-max", &options->send_buffer_max,
             "bytes that a slow reader may leave waiting; beyond: closed");
  connection("--connections-max", &http.connections_max, "connections at once; beyond: 503")
      ->check(CLI::Range(1, 1 << 20));
  connection("--prepare-queue-max", &options->config.prepare_queue_max,
             "large requests that wait to be tokenized; beyond: 503")
      ->check(CLI::Range(1, 1 << 20));
  const auto seconds = [&](const char* name, double* value, const char* help) {
    connection(name, value, help)->check(CLI::Range(0.01, 1e6));
  };
  seconds("--header-timeout", &options->header_timeout_s, "seconds for the headers; beyond: 408");
  seconds("--body-timeout", &options->body_timeout_s,
          "seconds for the body, and what its bytes take at 16 KiB/s; beyond: 408");
  seconds("--idle-timeout", &options->idle_timeout_s, "seconds between requests; beyond: closed");
  seconds("--write-stall-timeout", &options->write_stall_timeout_s,
          "seconds without a byte taken by the reader; beyond: closed");
}

std::vector<api::Setting> settings_of(const ServeOptions& options, const ServedModel& served) {
  const engine::EngineLimits& limits = served.engine.limits;
  const auto number = [](int64_t value) { return fmt::format("{}", value); };
  return {{"kernels", std::string(served.opened.model->ops().name)},
          {"threads", number(served.opened.model->pool().threads())},
          {"kv_budget", options.served.kv_budget},
          {"kv_pages", number(limits.kv_pages)},
          {"max_sequences", number(limits.sequences_max)},
          {"queue_max", number(limits.queue_max)},
          {"step_tokens", number(limits.step_tokens_max)},
          {"chunk_tokens", number(limits.chunk_tokens_max)},
          {"speculation", options.served.speculation.name},
          {"draft_layer", served.opened.model->has_drafts() ? "yes" : "no"},
          {"reasoning", served.text.thinks ? options.reasoning : "off"}};
}

// The first line: editors end a file with a newline.
core::Result<std::string> read_gateway_key(const std::string& path) {
  if (path.empty()) return std::string();
  const auto file = TRY(formats::map_file(path));
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  std::string key(text.substr(0, text.find_first_of("\r\n")));
  constexpr size_t kKeyBytesMin = 16;
  if (key.size() < kKeyBytesMin)
    return core::invalid("--gateway-key-file '{}': the key has {} bytes, at least {} are needed",
                         path, key.size(), kKeyBytesMin);
  return key;
}

}  // namespace

void add_serve_options(CLI::App& app, ServeOptions* options) {
  add_served_model_options(app, &options->served);
  app.add_option(
         "--step-ms-min", options->step_ms_min,
         "a step takes at least so long, the rest of it is left to others; 0: no such limit")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1000.0));
  app.add_option("--host", options->host, "address to listen on")->capture_default_str();
  app.add_option("--port", options->port, "port; 0: a free one")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  app.add_option("--served-model-name", options->model_names,
                 "a name that requests may ask for, may be repeated; none: the file's")
      ->allow_extra_args(false);
  app.add_option("--api-key", options->api_keys,
                 "a key that requests may carry, may be repeated, also from SLUICE_API_KEY; none: "
                 "everybody may ask")
      ->allow_extra_args(false);
  auto* certificate =
      app.add_option("--tls-cert", options->tls.certificate_file,
                     "PEM: the server's certificate, then those that lead to the root; read again "
                     "on SIGHUP; none: plain HTTP")
          ->check(CLI::ExistingFile);
  auto* key = app.add_option("--tls-key", options->tls.key_file, "PEM: its private key")
                  ->check(CLI::ExistingFile);
  certificate->needs(key);
  key->needs(certificate);
  app.add_option("--allowed-origin", options->allowed_origin,
                 "for browsers (CORS); an empty text: none")
      ->capture_default_str();
  app.add_option("--reasoning", options->reasoning,
                 "auto: thoughts of models that think are apart from the answer; off")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "off"}));
  app.add_option("--reasoning-field", options->reasoning_field, "where the thoughts are")
      ->capture_default_str()
      ->check(CLI::IsMember({"reasoning_content", "reasoning"}));
  app.add_option("--drain-timeout", options->drain_timeout_s,
                 "seconds that running requests have after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--ping-after", options->ping_after_s,
                 "seconds of silence before a stream gets a comment line")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 1e6));
  add_limits(app, options);
}

core::Result<std::shared_ptr<net::TlsServer>> make_tls(const ServeOptions& options) {
  if (options.tls.certificate_file.empty()) return std::shared_ptr<net::TlsServer>();
  return net::TlsServer::load(options.tls);
}

std::vector<int> handled_signals(const std::shared_ptr<net::TlsServer>& tls) {
  std::vector<int> signals = {SIGTERM, SIGINT};
  if (tls) signals.push_back(SIGHUP);
  return signals;
}

void reload_tls(net::TlsServer* tls, const core::Logger& log) {
  const auto reloaded = tls->reload();
  if (reloaded.ok())
    log.info("the certificate was read again");
  else
    log.error("the certificate stays as it was: {}", reloaded.error().message);
}

core::Result<net::ServerLimits> make_http_limits(const ServeOptions& options) {
  net::ServerLimits limits = options.config.http_limits;
  limits.body_bytes_max = TRY(parse_byte_size(options.body_max));
  limits.header_bytes_max = TRY(parse_byte_size(options.header_max));
  constexpr int64_t kHeaderBytesMin = 512;
  if (limits.header_bytes_max < kHeaderBytesMin)
    return core::invalid("--header-max is {}, at least {} B are needed", options.header_max,
                         kHeaderBytesMin);
  limits.target_bytes_max = std::min(
      limits.target_bytes_max, limits.header_bytes_max - net::ServerLimits::kHeaderBytesOverTarget);
  limits.request_bytes_max = limits.body_bytes_max / 2 * 3;
  if (!options.request_max.empty()) {
    limits.request_bytes_max = TRY(parse_byte_size(options.request_max));
    if (limits.request_bytes_max < limits.body_bytes_max)
      return core::invalid("--request-max is {}, less than one body may have (--body-max {})",
                           options.request_max, options.body_max);
  }
  limits.send_buffer_bytes_max = TRY(parse_byte_size(options.send_buffer_max));
  limits.header_timeout_ns = ns(options.header_timeout_s);
  limits.body_timeout_ns = ns(options.body_timeout_s);
  limits.idle_timeout_ns = ns(options.idle_timeout_s);
  limits.write_stall_timeout_ns = ns(options.write_stall_timeout_s);
  return limits;
}

std::vector<std::string> keys_of(const ServeOptions& options) {
  std::vector<std::string> keys = options.api_keys;
  const char* key = std::getenv("SLUICE_API_KEY");
  if (key != nullptr && *key != '\0') keys.emplace_back(key);
  return keys;
}

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

std::string default_model_name(const ServeOptions& options) {
  return std::filesystem::path(options.served.model.model).stem().string();
}

core::Result<server::ApiServerConfig> make_server_config(const ServeOptions& options,
                                                         const ServedModel& served) {
  const formats::Manifest& manifest = served.opened.checkpoint->manifest();
  server::ApiServerConfig config = options.config;
  config.model_names = options.model_names;
  if (config.model_names.empty()) config.model_names.push_back(default_model_name(options));
  config.model_root = options.served.model.model;
  config.model_digest = manifest.digest;
  config.version = SLUICE_VERSION;
  config.api_keys = keys_of(options);
  config.gateway_key = TRY(read_gateway_key(options.gateway_key_file));
  config.allowed_origin = options.allowed_origin;
  const engine::EngineLimits& limits = served.engine.limits;
  config.request_limits.choices_max =
      std::min(config.request_limits.choices_max, limits.sequences_max + limits.queue_max);
  config.http_limits = TRY(make_http_limits(options));
  config.ping_after_ns = ns(options.ping_after_s);
  config.ping_period_ns = std::min(config.ping_period_ns, ns(options.ping_after_s) / 2);
  config.drain_timeout_ns = ns(options.drain_timeout_s);
  config.reasoning_field = options.reasoning_field == "reasoning"
                               ? api::ReasoningField::kReasoning
                               : api::ReasoningField::kReasoningContent;
  config.page_tokens = kernels::kPageTokens;
  config.settings = settings_of(options, served);
  return config;
}

}  // namespace sluice::apps
