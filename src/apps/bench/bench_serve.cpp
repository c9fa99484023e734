// sluice bench serve: what a user of an OpenAI-compatible server would feel, at some concurrencies.
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/bench/kinds.h"
#include "apps/bench/server_load.h"
#include "apps/model/model_options.h"

namespace sluice::apps {
namespace {

struct Options {
  ServerLoadOptions load;
  std::vector<int> concurrency = {1, 4, 16};
  std::string output = "text";
};

void print_text(const ServerRow& row) {
  fmt::print("{:>7} {:>5} {:>5} {:>11.1f} {:>9.0f} {:>9.1f} {:>9.1f} {:>9.2f} {:>9.2f}\n",
             row.concurrency, row.done, row.failed, row.output_tok_s, row.prompt_tokens,
             row.ttft_p50_ms, row.ttft_p99_ms, row.tpot_p50_ms, row.tpot_p99_ms);
  if (row.failed > 0) fmt::print(stderr, "first failure: {}\n", row.first_failure);
  std::fflush(stdout);
}

core::Result<int> bench(const Options& options) {
  const auto server = TRY(ServerLoad::connect(options.load));
  const ServerLoadOptions& load = server->options();
  const bool text = options.output == "text";
  if (text)
    fmt::print(
        "{} at {}, {} requests of about {} + {} tokens each\n{:>7} {:>5} {:>5} {:>11} {:>9} "
        "{:>9} {:>9} {:>9} {:>9}\n",
        load.model, load.url, load.requests, load.prompt_tokens, load.max_tokens, "streams", "done",
        "fail", "out tok/s", "prompt", "TTFT p50", "p99 ms", "TPOT p50", "p99 ms");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  int failed = 0;
  for (const int concurrency : options.concurrency) {
    const ServerRow row = server->run(concurrency);
    failed += row.failed;
    if (text) print_text(row);
    rows.push_back(to_json(row, load));
  }
  if (!text) fmt::print("{}\n", rows.dump(2));
  return failed == 0 ? 0 : 1;
}

}  // namespace

int run_bench_serve(int argc, char** argv) {
  Options options;
  ServerLoadOptions& load = options.load;
  CLI::App app{
      "Speed of an OpenAI-compatible server as its users see it: streamed chat requests "
      "with different prompts.",
      "sluice bench serve"};
  app.add_option("--url", load.url, "of the server, /v1 is added if there is no path")
      ->capture_default_str();
  app.add_option("--ca-file", load.authorities_file,
                 "PEM: whose certificates an https server may show; none: the system's");
  app.add_option("--model", load.model, "the first that it lists if not given");
  app.add_option("--api-key", load.key, "sent as a bearer token")->envname("SLUICE_API_KEY");
  app.add_option("-c,--concurrency", options.concurrency, "streams at once, one row for each")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("-r,--requests", load.requests, "in each row")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-p,--prompt-tokens", load.prompt_tokens, "of a prompt, about")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-n,--max-tokens", load.max_tokens, "of an answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--seed", load.seed, "of the prompts")->capture_default_str();
  add_output_option(app, &options.output);
  app.footer("Example: sluice bench serve --url http://127.0.0.1:8000 -c 1 4 16 -r 64");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = bench(options);
  return done.ok() ? *done : report("bench serve", done.error());
}

}  // namespace sluice::apps
