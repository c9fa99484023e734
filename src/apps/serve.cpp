// sluice serve: one engine with its HTTP API.
#include <malloc.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/bench/roof.h"
#include "apps/model/byte_size.h"
#include "apps/model/serve_options.h"
#include "apps/process/descriptors.h"
#include "apps/process/paced_runner.h"
#include "apps/process/resident_bytes.h"
#include "apps/verbs.h"
#include "core/clock.h"
#include "core/log.h"
#include "engine/engine.h"
#include "engine/step_runner.h"
#include "net/check_listen.h"
#include "server/activity.h"
#include "server/api_server.h"

namespace sluice::apps {
namespace {

constexpr int64_t kOtherDescriptors = 64;     // files of the model, the loop's
constexpr int64_t kPageChangesMax = 1 << 16;  // kept for gateways that are behind

// Large bodies go back to the system when they are freed. Left to itself, glibc keeps blocks of the
// size of the largest that was ever freed.
void return_large_blocks() {
  constexpr int kLargeBytes = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
}

// Bench and plan measure the machine once and leave it in the cache; a start does not wait for it.
engine::MachineLimits machine_limits(model::Model& model) {
  const auto roof = known_roof(model.pool().threads(), model.ops().name);
  if (!roof) return {};
  return {.read_bytes_per_s = roof->read_gb_s * 1e9,
          .operations_per_s = roof_tera_ops(*roof, model) * 1e12};
}

// A line a minute on what the engine did, none while it does nothing.
class MinuteLog {
 public:
  MinuteLog(net::EventLoop& loop, const core::Logger& log, const engine::Engine& engine)
      : timer_(loop), log_(log), engine_(engine), before_(engine.stats()) {
    start();
  }

 private:
  static constexpr int64_t kIntervalNs = 60'000'000'000;
  void start() {
    timer_.start(kIntervalNs, [this] {
      engine::EngineStats now = engine_.stats();
      const std::string line = server::activity_line(before_, now, kIntervalNs);
      if (!line.empty()) log_.info("{}", line);
      before_ = std::move(now);
      start();
    });
  }

  net::Timer timer_;
  const core::Logger& log_;
  const engine::Engine& engine_;
  engine::EngineStats before_;
};

core::Result<int> serve(const ServeOptions& options) {
  return_large_blocks();
  allow_descriptors(options.config.http_limits.connections_max + kOtherDescriptors);
  const core::Logger log;
  const core::SystemClock clock;
  // A model may take minutes to load.
  TRY(net::check_listen(options.host, static_cast<uint16_t>(options.port)));
  ServedModel served = TRY(open_served_model(options.served));
  fmt::print(stderr, "{}", describe(served));
  served.engine.machine = machine_limits(*served.opened.model);

  net::EventLoop loop;
  server::EventBridge bridge(loop);
  server::PageJournal pages(kPageChangesMax);
  engine::ModelRunner model_runner(*served.opened.model);
  PacedRunner runner(model_runner, clock, static_cast<int64_t>(options.step_ms_min * 1e6));
  engine::Engine engine(served.engine,
                        {.runner = &runner,
                         .pool = &served.opened.model->pool(),
                         .ops = &served.opened.model->ops(),
                         .clock = &clock,
                         .sink = [&](const engine::StepEvents& events) { bridge.on_step(events); },
                         .pages = [&](auto changes) { pages.add(changes); },
                         .observer = {}});
  server::ApiServerConfig config = TRY(make_server_config(options, served));
  const std::shared_ptr<net::TlsServer> tls = TRY(make_tls(options));
  config.tls = tls;
  config.id_seed = random_seed();
  config.secret_seed = random_seed();
  server::ApiServer server(
      std::move(config),
      {.loop = loop,
       .engine = engine,
       .bridge = bridge,
       .pages = pages,
       .prompt_model = {.vocabulary = &served.text.vocabulary,
                        .chat_template =
                            served.text.chat_template ? &*served.text.chat_template : nullptr,
                        .thinks = served.text.thinks && options.reasoning == "auto",
                        .context_tokens_max = served.engine.limits.context_tokens_max,
                        .clock = &clock},
       .clock = clock,
       .resident_bytes = resident_bytes});
  const uint16_t port = TRY(server.listen(options.host, static_cast<uint16_t>(options.port)));
  loop.handle_signals(handled_signals(tls), [&, seen = 0](int number) mutable {
    if (number == SIGHUP) return reload_tls(tls.get(), log);
    if (++seen > 1) return loop.stop();
    if (options.drain_timeout_s > 0)
      log.info(
          "draining: new requests get 503, running ones have {} s; a second signal ends at once",
          options.drain_timeout_s);
    server.drain([&] { loop.stop(); });
  });
  const MinuteLog minute_log(loop, log, engine);
  fmt::print("listening on {}://{}:{}\n", tls ? "https" : "http", options.host, port);
  std::fflush(stdout);
  loop.run();
  engine.stop();
  return 0;
}

}  // namespace

int run_serve(int argc, char** argv) {
  ServeOptions options;
  CLI::App app{"One engine with its OpenAI-compatible HTTP API.", "sluice serve"};
  add_serve_options(app, &options);
  app.add_option("--gateway-key-file", options.gateway_key_file,
                 "file with the key of the gateway that may send the object \"sluice\" and read "
                 "/internal/events; none: nobody may")
      ->check(CLI::ExistingFile);
  app.footer(
      "Example: sluice serve model.gguf --port 8000\n"
      "         curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' "
      "\\\n              -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto served = serve(options);
  return served.ok() ? *served : report("serve", served.error());
}

}  // namespace sluice::apps
