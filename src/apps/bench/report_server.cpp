#include "apps/bench/report_server.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "apps/model/command_text.h"
#include "apps/process/child_process.h"
#include "formats/checkpoint.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

constexpr std::string_view kReadyPrefix = "listening on ";
constexpr int64_t kTemplateTokens = 256;  // that a chat template may add, and words that are longer

class ServerProcess {
 public:
  // Returns when it listens.
  static core::Result<std::unique_ptr<ServerProcess>> start(std::vector<std::string> words) {
    words.front() = std::filesystem::read_symlink("/proc/self/exe").string();
    auto server = std::make_unique<ServerProcess>();
    server->child_ = TRY(ChildProcess::start(
        server->loop_,
        {.argv = std::move(words), .environment = {"SLUICE_API_KEY="}},  // asks for no key
        {.on_line = [server = server.get()](const std::string& line) { server->on_line(line); },
         .on_exit = [server = server.get()](int status) { server->on_exit(status); }}));
    server->loop_.run();
    if (server->url_.empty())
      return core::invalid("`sluice serve` {}", describe_wait_status(server->wait_status_));
    return server;
  }
  ServerProcess() = default;
  ~ServerProcess() {
    if (!child_ || has_ended_) return;
    child_->signal(SIGTERM);
    loop_.run();
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& url() const { return url_; }

 private:
  void on_line(const std::string& line) {
    if (!line.starts_with(kReadyPrefix)) return;
    url_ = line.substr(kReadyPrefix.size());
    loop_.stop();
  }
  void on_exit(int wait_status) {
    wait_status_ = wait_status;
    has_ended_ = true;
    loop_.stop();
  }

  net::EventLoop loop_;
  std::unique_ptr<ChildProcess> child_;
  std::string url_;
  bool has_ended_ = false;
  int wait_status_ = 0;
};

std::vector<std::string> serve_words(const ServedLoadOptions& options, int32_t streams_max) {
  const int64_t context =
      int64_t{options.load.input_tokens} * 5 / 4 + options.load.output_tokens + kTemplateTokens;
  std::vector<std::string> words = {"sluice", "serve", options.model};
  words.insert(words.end(), options.model_options.begin(), options.model_options.end());
  const auto add = [&](std::string_view name, int64_t value) {
    words.emplace_back(name);
    words.push_back(fmt::format("{}", value));
  };
  add("--port", 0);
  add("--max-sequences", streams_max);
  add("--step-tokens", std::max(options.load.step_tokens, streams_max + 1));
  add("--chunk-tokens", std::max(options.load.step_tokens, streams_max + 1));
  add("--kv-budget", 2 * streams_max * context * options.kv_token_bytes);
  words.insert(words.end(), {"--speculation", "off"});
  return words;
}

std::string bench_command(const ServerLoadOptions& load, const std::vector<int32_t>& streams) {
  return fmt::format("sluice bench serve --url {} -c {} -r {} -p {} -n {}", load.url,
                     fmt::join(streams, " "), load.requests, load.prompt_tokens, load.max_tokens);
}

bool has_vocabulary(const std::string& model) {
  const auto checkpoint = formats::Checkpoint::open(model);
  return checkpoint.ok() && tokenizer::open_vocabulary(model, **checkpoint).ok();
}

core::Result<ReportServer> measure(const ServedLoadOptions& options) {
  ReportServer report;
  const int32_t streams_max =
      *std::max_element(options.stream_counts.begin(), options.stream_counts.end());
  const std::vector<std::string> words = serve_words(options, streams_max);
  const auto process = TRY(ServerProcess::start(words));
  const auto load = TRY(ServerLoad::connect({.url = process->url(),
                                             .requests = streams_max * options.load.repeats,
                                             .prompt_tokens = options.load.input_tokens,
                                             .max_tokens = options.load.output_tokens}));
  for (const int32_t streams : options.stream_counts) report.rows.push_back(load->run(streams));
  report.load = load->options();
  report.note = fmt::format(
      "`sluice bench serve` against a `sluice serve` of its own: chat requests of random words, "
      "streamed and greedy, each with another prompt, {} in each row; no drafts.",
      report.load.requests);
  report.serve_command = command_text(words);
  report.bench_command = bench_command(report.load, options.stream_counts);
  return report;
}

}  // namespace

ReportServer measure_server(const ServedLoadOptions& options) {
  if (options.model.empty() || !has_vocabulary(options.model))
    return {.note = "Not measured: the model has no vocabulary."};
  auto measured = measure(options);
  if (measured.ok()) return std::move(*measured);
  return {.note = fmt::format("Not measured: {}.", measured.error().message),
          .fault = measured.error().message};
}

}  // namespace sluice::apps
