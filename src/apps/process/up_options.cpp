#include "apps/process/up_options.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include <CLI/CLI.hpp>

#include "apps/process/data_folder.h"
#include "gateway/admin/admin_api.h"

namespace sluice::apps {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kDayNs = 86'400 * kSecondNs;
constexpr std::string_view kEngineSecret = "engine";
constexpr std::string_view kPool = "local";
constexpr std::string_view kProject = "default";  // of gateway::make_default_key

// Options of the gateway: the engine gets none, or one of ours. (It must not close idle connections
// before we do.)
constexpr std::string_view kOwnOptions[] = {"--host",          "--port",        "--hold-timeout",
                                            "--held-max",      "--data-folder", "--admin-port",
                                            "--idle-timeout",  "--header-max",  "--headers-max",
                                            "--body-max",      "--request-max", "--connections-max",
                                            "--drain-timeout", "--api-key",     "--allowed-origin",
                                            "--tls-cert",      "--tls-key"};
// A request reaches the engine with headers and a body that hold more than the client's: our
// extension, with the token ids of a stream that goes on.
constexpr int64_t kAddedHeaderBytes = 1024;
constexpr int32_t kAddedHeaders = 8;
constexpr int64_t kAddedBodyBytes = 4 << 20;
constexpr int32_t kAddedConnections = 16;  // probes and events

std::vector<std::string> names_of(const UpOptions& options) {
  if (!options.serve.model_names.empty()) return options.serve.model_names;
  return {default_model_name(options.serve)};
}

// Gateway and engine read a prompt alike, unless the engine has its chat template from elsewhere.
std::string vocabulary_file_of(const ServedModelOptions& served) {
  if (!served.chat_template.empty()) return "";
  std::error_code fault;
  const std::filesystem::path path = std::filesystem::absolute(served.model.model, fault);
  return fault ? "" : path.string();
}

int64_t modified_unix_s(const std::string& path) {
  std::error_code fault;
  const auto time = std::filesystem::last_write_time(path, fault);
  if (fault) return 0;
  const auto unix = std::chrono::file_clock::to_sys(time).time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(unix).count();
}

contract::Replica make_replica(const UpOptions& options, const EngineState& engine,
                               const std::string& model, size_t number) {
  const engine::EngineLimits& limits = options.serve.served.limits;
  contract::Replica replica;
  replica.id = fmt::format("engine-{}", engine.start);
  if (number > 0) replica.id += fmt::format(".{}", number + 1);
  replica.pool = kPool;
  replica.model = model;
  replica.kind = contract::ReplicaKind::kSluice;
  replica.secret = kEngineSecret;
  // The engine has a queue of its own.
  replica.speed.streams_max = limits.sequences_max + limits.queue_max;
  if (engine.endpoint) {
    replica.url = fmt::format("http://{}:{}/v1", engine.endpoint->host, engine.endpoint->port);
  } else {
    replica.state = contract::ReplicaState::kStarting;
    replica.ready_at_unix_ns = engine.ready_at_unix_ns;
  }
  return replica;
}

}  // namespace

void add_up_options(CLI::App& app, UpOptions* options) {
  add_serve_options(app, &options->serve);
  app.get_option("MODEL")->required(false)->envname("SLUICE_MODEL");
  add_data_folder_option(app, &options->data_folder,
                         "where keys, journal and database of the gateway are; one process each");
  app.add_option("--admin-port", options->admin_port,
                 "of /admin/v1 and /metrics, on 127.0.0.1 alone; 0: a free one")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  app.add_option("--held-max", options->held_max,
                 "requests that wait for the engine to be ready or to have room; beyond: 503")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  app.add_option("--hold-timeout", options->hold_timeout_s, "seconds that they wait; beyond: 503")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
}

UpConfig make_up_config(const UpOptions& options, const std::string& engine_key,
                        const EngineState& engine) {
  UpConfig config;
  gateway::GatewayConfig& gateway = config.gateway;
  gateway.listen = {
      {.host = options.serve.host, .port = static_cast<uint16_t>(options.serve.port)}};
  gateway.admin = {.host = "127.0.0.1", .port = static_cast<uint16_t>(options.admin_port)};
  gateway.data_folder = options.data_folder;
  gateway.certificate_file = options.serve.tls.certificate_file;
  gateway.private_key_file = options.serve.tls.key_file;
  config.secrets.emplace(kEngineSecret, engine_key);

  contract::Snapshot& snapshot = gateway.snapshot;
  contract::Pool pool;
  pool.id = kPool;
  snapshot.pools.push_back(std::move(pool));
  for (const std::string& name : names_of(options)) {
    contract::Model model;
    model.id = name;
    model.created_unix_s = modified_unix_s(options.serve.served.model.model);
    model.vocabulary_file = vocabulary_file_of(options.serve.served);
    snapshot.replicas.push_back(make_replica(options, engine, name, snapshot.models.size()));
    snapshot.models.push_back(std::move(model));
  }
  for (const std::string& secret : keys_of(options.serve)) {
    contract::Key key;
    key.id = fmt::format("key_option_{}", snapshot.keys.size() + 1);
    key.project = kProject;
    gateway.key_secrets.push_back({.key = snapshot.keys.size(), .secret = key.id});
    config.secrets.emplace(key.id, secret);
    snapshot.keys.push_back(std::move(key));
  }
  return config;
}

core::Result<FrontOptions> make_front_options(const UpOptions& options) {
  FrontOptions front;
  front.http_limits = TRY(make_http_limits(options.serve));
  front.edge.waiting_max = options.held_max;
  front.edge.wait_max_ns = static_cast<int64_t>(options.hold_timeout_s * 1e9);
  front.edge.replacement_wait_ns = std::min(2 * kSecondNs, front.edge.wait_max_ns);
  front.edge.heartbeat_ns = static_cast<int64_t>(options.serve.ping_after_s * 1e9);
  // The engine is on this machine: its death closes its sockets, nothing else ends an answer.
  front.edge.stall_least_ns = kDayNs;
  front.edge.response_timeout_ns = kDayNs;
  front.edge.request_max_ns = kDayNs;
  front.default_model = names_of(options).front();
  front.allowed_origin = options.serve.allowed_origin;
  if (keys_of(options.serve).empty()) front.guest_key = gateway::kGuestKeyId;
  return front;
}

core::Result<ProcessSpec> make_engine_spec(const CLI::App& app, const UpOptions& options,
                                           const std::string& engine_key,
                                           const std::string& engine_key_file) {
  const net::ServerLimits limits = TRY(make_http_limits(options.serve));
  ProcessSpec spec;
  std::vector<std::string>& words = spec.command.argv;
  words = {std::filesystem::read_symlink("/proc/self/exe").string(), "serve"};
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name();
    if (std::find(std::begin(kOwnOptions), std::end(kOwnOptions), name) != std::end(kOwnOptions))
      continue;
    const bool is_flag = option->get_items_expected_max() == 0;
    for (const std::string& value : option->results()) {
      if (!option->get_positional()) words.push_back(name);
      if (!is_flag) words.push_back(value);
    }
  }
  const auto add = [&](std::string_view name, auto value) {
    words.emplace_back(name);
    words.push_back(fmt::format("{}", value));
  };
  add("--host", "127.0.0.1");
  add("--port", 0);
  add("--gateway-key-file", engine_key_file);
  add("--header-max", limits.header_bytes_max + kAddedHeaderBytes);
  add("--headers-max", limits.headers_max + kAddedHeaders);
  add("--body-max", limits.body_bytes_max + kAddedBodyBytes);
  add("--request-max", 2 * (limits.request_bytes_max + kAddedBodyBytes));
  add("--connections-max", limits.connections_max + kAddedConnections);
  add("--drain-timeout", 0);  // it is stopped when the gateway has drained
  spec.stop_timeout_ns = 10 * kSecondNs;
  spec.command.environment = {"SLUICE_API_KEY=" + engine_key};
  return spec;
}

}  // namespace sluice::apps
