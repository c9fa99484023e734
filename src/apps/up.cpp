// sluice up: everything on this machine. The public port stays open whatever happens to the engine,
// which is a process of its own, watched and started again.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/descriptors.h"
#include "apps/engine_proxy.h"
#include "apps/serve_options.h"
#include "apps/supervisor.h"
#include "apps/verbs.h"
#include "core/clock.h"
#include "net/http_server.h"

namespace sluice::apps {
namespace {

constexpr int64_t kOtherDescriptors = 64;  // pipes, the loop's

struct UpOptions {
  ServeOptions serve;
  int64_t held_max = 256;
  double hold_timeout_s = 10;
};

// Options of this process: the engine's does not get them. (It must not close idle connections
// before we do.)
constexpr std::string_view kOwnOptions[] = {"--host",        "--port",         "--hold-timeout",
                                            "--held-max",    "--idle-timeout", "--header-max",
                                            "--headers-max", "--tls-cert",     "--tls-key"};
// A request reaches the engine with headers of ours.
constexpr int64_t kAddedHeaderBytes = 1024;
constexpr int32_t kAddedHeaders = 8;

// `sluice serve` with the same options, on a free port of this machine.
std::vector<std::string> engine_command(const CLI::App& app, const net::ServerLimits& limits) {
  std::vector<std::string> command = {std::filesystem::read_symlink("/proc/self/exe").string(),
                                      "serve"};
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name();
    if (std::find(std::begin(kOwnOptions), std::end(kOwnOptions), name) != std::end(kOwnOptions))
      continue;
    const bool is_flag = option->get_items_expected_max() == 0;
    for (const std::string& value : option->results()) {
      if (!option->get_positional()) command.push_back(name);
      if (!is_flag) command.push_back(value);
    }
  }
  command.insert(command.end(),
                 {"--host", "127.0.0.1", "--port", "0", "--header-max",
                  std::to_string(limits.header_bytes_max + kAddedHeaderBytes), "--headers-max",
                  std::to_string(limits.headers_max + kAddedHeaders)});
  return command;
}

void print_first_steps(const std::string& url, const UpOptions& options) {
  const std::string model = options.serve.model_names.empty() ? default_model_name(options.serve)
                                                              : options.serve.model_names.front();
  const bool locked = !options.serve.api_keys.empty() || std::getenv("SLUICE_API_KEY") != nullptr;
  const std::string_view key = locked ? "YOUR_KEY" : "none";
  fmt::print("listening on {}\n\n", url);
  fmt::print(
      "curl {}/v1/chat/completions -H 'Content-Type: application/json'{} \\\n"
      "  -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": "
      "\"Why is the sky blue?\"}}], \"max_tokens\": 100}}'\n\n",
      url, locked ? " -H 'Authorization: Bearer YOUR_KEY'" : "", model);
  fmt::print(
      "from openai import OpenAI\n"
      "client = OpenAI(base_url=\"{}/v1\", api_key=\"{}\")\n"
      "for event in client.chat.completions.create(model=\"{}\", stream=True,\n"
      "        messages=[{{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}}],\n"
      "        max_tokens=100):\n"
      "    print(event.choices[0].delta.content or \"\", end=\"\", flush=True)\n\n",
      url, key, model);
  std::fflush(stdout);
}

core::Result<int> up(const UpOptions& options, const CLI::App& app) {
  // Each of a client's connections may need one to the engine.
  allow_descriptors(2 * int64_t{options.serve.config.http_limits.connections_max} +
                    kOtherDescriptors);
  const core::SystemClock clock;
  net::EventLoop loop;
  EngineProxy proxy(
      loop, clock,
      {.limits = {.held_max = options.held_max,
                  .hold_timeout_ns = static_cast<int64_t>(options.hold_timeout_s * 1e9)},
       .replier = {.allowed_origin = options.serve.allowed_origin},
       .api_keys = keys_of(options.serve),
       .id_seed = random_seed()});
  const net::ServerLimits limits = TRY(make_http_limits(options.serve));
  const std::shared_ptr<net::TlsServer> tls = TRY(make_tls(options.serve));
  net::HttpServer http(
      {.loop = loop,
       .limits = limits,
       .handler = [&](const net::Request& request,
                      net::Responder responder) { proxy.handle(request, std::move(responder)); },
       .check_head = [&](const net::Request& head) { return proxy.check_head(head); },
       .refusal = [&](int status,
                      std::string_view message) { return proxy.refusal(status, message); },
       .tls = tls});
  const std::string& host = options.serve.host;
  const uint16_t port = TRY(http.listen(host, static_cast<uint16_t>(options.serve.port)));
  const std::string url = fmt::format("{}://{}:{}", tls ? "https" : "http", host, port);

  constexpr int64_t kLastWordsNs = 2'000'000'000;  // for clients to take their answers
  net::Timer last_words(loop);
  int exit_code = 0;
  bool announced = false;
  ProcessSpec spec{.argv = engine_command(app, limits)};
  spec.stop_timeout_ns = static_cast<int64_t>((options.serve.drain_timeout_s + 10) * 1e9);
  Supervisor supervisor(loop, clock, std::move(spec),
                        {.on_ready =
                             [&](const net::Endpoint& endpoint) {
                               proxy.connect(endpoint);
                               if (!std::exchange(announced, true)) print_first_steps(url, options);
                             },
                         .on_lost = [&](int64_t ready_in_ns) { proxy.disconnect(ready_in_ns); },
                         .on_stopped =
                             [&](int code) {
                               exit_code = code;
                               proxy.disconnect(0);
                               proxy.shut_down();
                               http.stop_accepting();
                               http.on_idle([&] { loop.stop(); });
                               last_words.start(kLastWordsNs, [&] { loop.stop(); });
                             }});
  const core::Logger log;
  loop.handle_signals(handled_signals(tls), [&, seen = 0](int number) mutable {
    if (number == SIGHUP) return reload_tls(tls.get(), log);
    if (++seen > 1) return loop.stop();
    supervisor.stop();
  });
  loop.post([&] { supervisor.start(); });
  loop.run();
  return exit_code;
}

}  // namespace

int run_up(int argc, char** argv) {
  UpOptions options;
  CLI::App app{"Serves a model from a supervised engine process: its end is not the server's.",
               "sluice up"};
  add_serve_options(app, &options.serve);
  app.get_option("MODEL")->required(false)->envname("SLUICE_MODEL");
  app.add_option("--held-max", options.held_max,
                 "requests that wait for an engine to be ready; beyond: 503")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  app.add_option("--hold-timeout", options.hold_timeout_s, "seconds that they wait; beyond: 503")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.footer("Example: sluice up model.gguf --port 8000");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  if (options.serve.served.model.model.empty())
    return report("up", core::invalid("no MODEL: give a GGUF file, here or in SLUICE_MODEL"
                                      " (`make model` fetches a small one)"));
  const auto result = up(options, app);
  return result.ok() ? *result : report("up", result.error());
}

}  // namespace sluice::apps
