// sluice gateway: the front end of replicas, configured by a file.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/gateway/gateway_process.h"
#include "apps/model/model_options.h"
#include "apps/process/descriptors.h"
#include "apps/verbs.h"

namespace sluice::apps {
namespace {

constexpr int64_t kDescriptors = 65'536;
constexpr int kWrongConfiguration = 2;

struct Options {
  std::string config_file;
  bool check = false;
  int drain_timeout_s = 30;
};

struct Configuration {
  gateway::GatewayConfig config;
  Secrets secrets;
  std::vector<gateway::ConfigProblem> problems;
};

// Reads the file and what it names; every problem, in the order of lines.
Configuration read_configuration(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {{}, {}, {{0, "cannot be read"}}};
  const std::string text(std::istreambuf_iterator<char>(file), {});
  auto [config, problems] = gateway::parse_config(text);
  Configuration read{std::move(config), {}, std::move(problems)};
  read.secrets = read_secrets(read.config, &read.problems);
  std::stable_sort(read.problems.begin(), read.problems.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return read;
}

int report_problems(const std::string& path, const Configuration& read) {
  fmt::print(stderr, "{}sluice gateway: {} problem{} in {}\n",
             gateway::to_text(path, read.problems), read.problems.size(),
             read.problems.size() == 1 ? "" : "s", path);
  return kWrongConfiguration;
}

int print_check(const std::string& path, const contract::Snapshot& snapshot) {
  fmt::print(
      "{}: good. {} tenants, {} projects, {} keys, {} pools, {} replicas, {} models, {} "
      "prices\n",
      path, snapshot.tenants.size(), snapshot.projects.size(), snapshot.keys.size(),
      snapshot.pools.size(), snapshot.replicas.size(), snapshot.models.size(),
      snapshot.prices.size());
  return 0;
}

void print_ready(const GatewayProcess& process, const Options& options) {
  if (const std::string& key = process.admin().first_key(); !key.empty())
    fmt::print("admin key, shown this once: {}\n", key);
  fmt::print("admin on {}\n", process.admin().url());
  for (const std::string& url : process.urls()) fmt::print("listening on {}\n", url);
  fmt::print(stderr, "reload: kill -HUP {} reads {} again\n", getpid(), options.config_file);
  std::fflush(stdout);
}

// SIGHUP: the file again. A file that is not good changes nothing.
void reload(GatewayProcess* process, const Options& options, const core::Logger& log) {
  const Configuration read = read_configuration(options.config_file);
  if (read.problems.empty()) return process->reload(read.config, read.secrets);
  log.error("configuration not taken over:\n{}",
            gateway::to_text(options.config_file, read.problems));
}

core::Result<int> serve(const Options& options, Configuration read) {
  allow_descriptors(kDescriptors);
  const core::Logger log;
  FrontOptions front;
  front.edge.response_timeout_ns = read.config.response_timeout_s * INT64_C(1'000'000'000);
  front.edge.request_max_ns = read.config.request_timeout_s * INT64_C(1'000'000'000);
  front.spin_ns = read.config.spin_us * INT64_C(1'000);
  const auto process = TRY(GatewayProcess::make({.config = std::move(read.config),
                                                 .secrets = std::move(read.secrets),
                                                 .front = std::move(front)}));
  net::EventLoop loop;  // of signals alone
  net::Timer drain_timer(loop);
  loop.handle_signals({SIGTERM, SIGINT, SIGHUP}, [&, ending = false](int signal) mutable {
    if (signal == SIGHUP) return reload(process.get(), options, log);
    if (std::exchange(ending, true)) return loop.stop();
    log.info("draining: running requests have {} s; a second signal ends at once",
             options.drain_timeout_s);
    drain_timer.start(options.drain_timeout_s * INT64_C(1'000'000'000), [&] {
      process->end_all([] {});
      drain_timer.start(kLastWordsNs, [&] { loop.stop(); });
    });
    process->drain([&] { loop.stop(); });
  });
  process->run();
  print_ready(*process, options);
  loop.run();
  return 0;
}

}  // namespace

int run_gateway(int argc, char** argv) {
  Options options;
  CLI::App app{"A front end of engines and providers: keys, limits, routing, metering.",
               "sluice gateway"};
  app.add_option("--config", options.config_file, "TOML; deploy/gateway.toml explains every entry")
      ->required();
  app.add_flag("--check", options.check, "say what is wrong with the file, and serve nothing");
  app.add_option("--drain-timeout", options.drain_timeout_s,
                 "seconds that running requests have after SIGTERM")
      ->check(CLI::Range(0, 86'400))
      ->capture_default_str();
  app.footer(
      "Example: sluice gateway --config gateway.toml --check\n"
      "         sluice gateway --config gateway.toml");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  Configuration read = read_configuration(options.config_file);
  if (!read.problems.empty()) return report_problems(options.config_file, read);
  if (options.check) return print_check(options.config_file, read.config.snapshot);
  const auto served = serve(options, std::move(read));
  return served.ok() ? *served : report("gateway", served.error());
}

}  // namespace sluice::apps
