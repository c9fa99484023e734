// sluice up: everything on this machine. A gateway, whose port stays open whatever happens to the
// engine, which is a process of its own, watched and started again.
#include <csignal>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "api/json_writer.h"
#include "apps/gateway/first_keys.h"
#include "apps/gateway/gateway_process.h"
#include "apps/model/byte_size.h"
#include "apps/model/model_options.h"
#include "apps/process/data_folder.h"
#include "apps/process/descriptors.h"
#include "apps/process/supervisor.h"
#include "apps/process/up_options.h"
#include "apps/verbs.h"
#include "core/clock.h"
#include "gateway/admin/admin_api.h"
#include "gateway/admin/snapshot_file.h"

namespace sluice::apps {
namespace {

constexpr int64_t kOtherDescriptors = 256;        // journal, store, pipes, the loops'
constexpr int64_t kFirstStartNs = 1'000'000'000;  // until it is known

std::string new_engine_key() {
  std::array<uint8_t, 32> bytes;
  fill_with_random_bytes(bytes);
  std::string key;
  for (const uint8_t byte : bytes) key += fmt::format("{:02x}", byte);
  return key;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string shell_text(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// To paste. `key_path`: "" where no key is needed.
void print_examples(const std::string& url, const std::string& model, const std::string& key_path) {
  std::string header;
  std::string python_key = "\"none\"";
  if (!key_path.empty()) {
    header = fmt::format(" -H \"Authorization: Bearer $(cat {})\"", shell_text(key_path));
    python_key = "open(";
    api::append_json_string(&python_key, key_path);
    python_key += ").read().strip()";
  }
  fmt::print(
      "\ncurl {}/v1/chat/completions -H 'Content-Type: application/json'{} \\\n"
      "  -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": "
      "\"Why is the sky blue?\"}}], \"max_tokens\": 100}}'\n\n",
      url, header, model);
  fmt::print(
      "from openai import OpenAI\n"
      "client = OpenAI(base_url=\"{}/v1\", api_key={})\n"
      "for event in client.chat.completions.create(model=\"{}\", stream=True,\n"
      "        messages=[{{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}}],\n"
      "        max_tokens=100):\n"
      "    print(event.choices[0].delta.content or \"\", end=\"\", flush=True)\n\n",
      url, python_key, model);
}

// What the engine would say of its model in a log, among what a gateway without an engine says.
core::Result<void> check_model(const ServedModelOptions& served) {
  if (served.model.model.empty())
    return core::invalid(
        "no MODEL: give a GGUF file, here or in SLUICE_MODEL (`make model` fetches a small one)");
  TRY(parse_byte_size(served.kv_budget));
  TRY(model::open_checkpoint(served.model.model));
  return {};
}

class Up {
 public:
  Up(UpOptions options, const CLI::App& app) : options_(std::move(options)), app_(app) {}

  core::Result<int> run();

 private:
  core::Result<void> start_gateway();
  core::Result<void> start_engine();
  void on_ready(const net::Endpoint& endpoint);
  void on_lost(int64_t ready_in_ns);
  void on_stopped(int exit_code);
  void on_signal(int number);
  void drain();
  void tell_gateway(std::function<void()> done = [] {});
  void print_first_steps() const;

  const UpOptions options_;
  const CLI::App& app_;
  const core::SystemClock clock_;
  const core::Logger log_;
  const std::string engine_key_ = new_engine_key();
  EngineState engine_;
  FirstKeys keys_;
  net::EventLoop loop_;  // of signals and of the engine's process
  net::Timer timer_{loop_};
  std::unique_ptr<GatewayProcess> gateway_;
  std::unique_ptr<Supervisor> supervisor_;
  int exit_code_ = 0;
  bool announced_ = false;
  bool draining_ = false;
  bool drained_ = false;  // the gateway has no request any more
  bool stopped_ = false;  // the engine
};

core::Result<int> Up::run() {
  // Each of a client's connections may need one to the engine.
  allow_descriptors(2 * int64_t{options_.serve.config.http_limits.connections_max} +
                    kOtherDescriptors);
  engine_.ready_at_unix_ns = clock_.unix_ns() + kFirstStartNs;
  TRY(start_gateway());
  TRY(start_engine());
  std::vector<int> signals = {SIGTERM, SIGINT};
  if (!options_.serve.tls.certificate_file.empty()) signals.push_back(SIGHUP);
  loop_.handle_signals(signals, [this](int number) { on_signal(number); });
  loop_.run();
  return exit_code_;
}

core::Result<void> Up::start_gateway() {
  UpConfig config = make_up_config(options_, engine_key_, engine_);
  auto gateway = GatewayProcess::make(
      {.config = std::move(config.gateway),
       .secrets = std::move(config.secrets),
       .front = TRY(make_front_options(options_)),
       .prepare = [this](gateway::SnapshotKeeper& keeper,
                         gateway::KeyHasher& hasher) -> core::Result<void> {
         keys_ = TRY(provide_first_keys(options_.data_folder, keeper, hasher, clock_));
         return {};
       }});
  if (!gateway.ok() && gateway.error().code == core::ErrorCode::kLimit)
    return core::invalid(
        "another gateway works in the data folder {}: stop it, or give this one a --data-folder "
        "of its own",
        options_.data_folder);
  gateway_ = TRY(std::move(gateway));
  gateway_->run();
  return {};
}

core::Result<void> Up::start_engine() {
  const std::string key_file = std::filesystem::path(options_.data_folder) / "engine_key";
  TRY(gateway::write_file_atomically(key_file, engine_key_ + "\n"));
  supervisor_ = std::make_unique<Supervisor>(
      loop_, clock_, TRY(make_engine_spec(app_, options_, engine_key_, key_file)),
      Supervisor::Events{.on_ready = [this](const net::Endpoint& endpoint) { on_ready(endpoint); },
                         .on_lost = [this](int64_t ready_in_ns) { on_lost(ready_in_ns); },
                         .on_stopped = [this](int exit_code) { on_stopped(exit_code); }});
  loop_.post([this] { supervisor_->start(); });
  return {};
}

// `done` when it knows.
void Up::tell_gateway(std::function<void()> done) {
  const UpConfig config = make_up_config(options_, engine_key_, engine_);
  gateway_->reload(config.gateway, config.secrets,
                   [this, done = std::move(done)] { loop_.post(done); });
}

void Up::on_ready(const net::Endpoint& endpoint) {
  engine_.endpoint = endpoint;
  tell_gateway([this] {
    if (!std::exchange(announced_, true)) print_first_steps();
  });
}

void Up::on_lost(int64_t ready_in_ns) {
  engine_ = {.start = engine_.start + 1,
             .endpoint = std::nullopt,
             .ready_at_unix_ns = clock_.unix_ns() + ready_in_ns};
  tell_gateway();
}

// ---- the end ------------------------------------------------------------------------------------

void Up::on_signal(int number) {
  if (number == SIGHUP) {
    const auto reloaded = gateway_->reload_certificate();
    if (reloaded.ok()) return log_.info("the certificate was read again");
    return log_.error("the certificate stays as it was: {}", reloaded.error().message);
  }
  if (std::exchange(draining_, true)) return loop_.stop();
  log_.info("draining: running requests have {} s; a second signal ends at once",
            options_.serve.drain_timeout_s);
  drain();
}

// The gateway first, while the engine still answers. What runs after the limit is ended before the
// engine is: else the gateway would take its end for a death and wait for the next one.
void Up::drain() {
  gateway_->drain([this] {
    loop_.post([this] {
      drained_ = true;
      supervisor_->stop();
      if (stopped_) loop_.stop();
    });
  });
  timer_.start(static_cast<int64_t>(options_.serve.drain_timeout_s * 1e9), [this] {
    gateway_->end_all([this] { loop_.post([this] { supervisor_->stop(); }); });
  });
}

void Up::on_stopped(int exit_code) {
  exit_code_ = exit_code;
  stopped_ = true;
  if (!draining_ || drained_) return loop_.stop();
  timer_.start(kLastWordsNs, [this] { loop_.stop(); });
}

// ---- what it says -------------------------------------------------------------------------------

void Up::print_first_steps() const {
  const std::string& url = gateway_->urls().front();
  const std::string model = options_.serve.model_names.empty() ? default_model_name(options_.serve)
                                                               : options_.serve.model_names.front();
  const bool guests = keys_.guests && keys_of(options_.serve).empty();
  const bool needs_key = !guests || !is_loopback(options_.serve.host);
  const std::string folder = options_.data_folder == default_data_folder()
                                 ? ""
                                 : " --data-folder " + shell_text(options_.data_folder);
  fmt::print("listening on {}\n", url);
  fmt::print("admin on {}, for this machine alone (metrics: /metrics)\n", gateway_->admin().url());
  if (keys_.new_secret.empty())
    fmt::print("API key: in {}\n", keys_.path);
  else
    fmt::print("API key, shown this once: {} (kept in {})\n", keys_.new_secret, keys_.path);
  fmt::print("more keys: sluice keys create{} --project default\n", folder);
  if (guests)
    fmt::print("programs of this machine need no key; to change that: sluice keys revoke{} {}\n",
               folder, gateway::kGuestKeyId);
  print_examples(url, model, needs_key ? keys_.path : "");
  std::fflush(stdout);
}

}  // namespace

int run_up(int argc, char** argv) {
  UpOptions options;
  CLI::App app{"Serves a model: a gateway in front of a supervised engine process.", "sluice up"};
  add_up_options(app, &options);
  app.footer("Example: sluice up model.gguf --port 8000");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  if (const auto given = check_model(options.serve.served); !given.ok())
    return report("up", given.error());
  const auto result = Up(std::move(options), app).run();
  return result.ok() ? *result : report("up", result.error());
}

}  // namespace sluice::apps
