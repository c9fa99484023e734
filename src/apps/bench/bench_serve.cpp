// sluice bench serve: what a user of an OpenAI-compatible server would feel, at some concurrencies.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "api/json_writer.h"
#include "apps/bench/kinds.h"
#include "apps/model/model_options.h"
#include "core/clock.h"
#include "core/rng.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace sluice::apps {
namespace {

struct Options {
  std::string url = "http://127.0.0.1:8000";
  std::string authorities_file;
  std::string model;
  std::string key;
  std::vector<int> concurrency = {1, 4, 16};
  int requests = 32;
  int prompt_tokens = 256;
  int max_tokens = 64;
  uint64_t seed = 1;
  std::string output = "text";
};

// Common English words: about 1.2 token ids each in the vocabularies of today.
constexpr std::string_view kWords[] = {"water",  "light",  "river",  "stone",  "early",  "paper",
                                       "music",  "green",  "house",  "letter", "number", "little",
                                       "system", "garden", "winter", "answer", "simple", "market",
                                       "window", "silver", "travel", "second", "spring", "people"};
constexpr double kTokensPerWord = 1.2;

// Whatever a foreign server sends, these do not throw: null, 0 or "" where something else is.
nlohmann::json member(const nlohmann::json& json, const char* key) {
  return json.is_object() && json.contains(key) ? json[key] : nlohmann::json();
}
nlohmann::json first(const nlohmann::json& json) {
  return json.is_array() && !json.empty() ? json[0] : nlohmann::json();
}
int64_t integer(const nlohmann::json& json) {
  return json.is_number_integer() ? json.get<int64_t>() : 0;
}
std::string text(const nlohmann::json& json) {
  return json.is_string() ? json.get<std::string>() : std::string();
}

struct Measured {
  std::string failure;   // empty: it went well
  int64_t first_ns = 0;  // from sending to the first text
  int64_t rest_ns = 0;   // from there to the last text
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// One streamed request, from its sending to its end.
class Probe final : public net::ResponseSink {
 public:
  Probe(const core::Clock& clock, std::function<void(const Measured&)> done)
      : clock_(clock), done_(std::move(done)), sent_ns_(clock.now_ns()) {}

  void on_head(const net::ResponseHead& head) override { status_ = head.status; }
  void on_body(std::string_view bytes) override {
    if (status_ != 200) {
      if (refusal_.size() < 300) refusal_ += bytes;
      return;
    }
    auto fed = parser_.feed(bytes, [this](const net::SseEvent& event) { take(event.data); });
    if (!fed.ok()) measured_.failure = fed.error().message;
  }
  void on_end(net::CallEnd end, std::string_view message) override {
    if (end != net::CallEnd::kComplete)
      measured_.failure = std::string(message);
    else if (status_ != 200)
      measured_.failure = fmt::format("status {}: {}", status_, refusal_);
    else if (texts_ == 0 && measured_.failure.empty())
      measured_.failure = "no text came back";
    if (measured_.completion_tokens == 0) measured_.completion_tokens = texts_;
    done_(measured_);
  }

 private:
  void take(std::string_view data) {
    if (data == "[DONE]") return;
    const auto json = nlohmann::json::parse(data, nullptr, false);
    if (!json.is_object()) return;
    if (json.contains("error")) measured_.failure = json["error"].dump();
    const nlohmann::json usage = member(json, "usage");
    if (usage.is_object()) {
      measured_.prompt_tokens = integer(member(usage, "prompt_tokens"));
      measured_.completion_tokens = integer(member(usage, "completion_tokens"));
    }
    const nlohmann::json delta = member(first(member(json, "choices")), "delta");
    bool has_text = false;
    for (const char* key : {"content", "reasoning_content", "reasoning"})
      has_text |= !text(member(delta, key)).empty();
    if (!has_text) return;
    const int64_t now_ns = clock_.now_ns();
    if (texts_++ == 0) measured_.first_ns = now_ns - sent_ns_;
    measured_.rest_ns = now_ns - sent_ns_ - measured_.first_ns;
  }

  const core::Clock& clock_;
  std::function<void(const Measured&)> done_;
  const int64_t sent_ns_;
  net::SseParser parser_;
  int status_ = 0;
  std::string refusal_;
  int64_t texts_ = 0;
  Measured measured_;
};

std::string request_body(const Options& options, uint64_t seed) {
  core::Rng rng(seed);
  std::string text;
  const int words = static_cast<int>(options.prompt_tokens / kTokensPerWord);
  for (int i = 0; i < std::max(words, 1); ++i) {
    if (i > 0) text += ' ';
    text += kWords[rng.below(static_cast<int64_t>(std::size(kWords)))];
  }
  api::JsonWriter json;
  json.begin_object();
  if (!options.model.empty()) json.key("model").string(options.model);
  json.key("stream").boolean(true);
  json.key("stream_options").begin_object().key("include_usage").boolean(true).end_object();
  json.key("temperature").integer(0).key("max_tokens").integer(options.max_tokens);
  json.key("ignore_eos").boolean(true);
  json.key("messages").begin_array().begin_object();
  json.key("role").string("user").key("content").string(text);
  json.end_object().end_array().end_object();
  return json.take();
}

// Collects the whole body of one answer.
class Collector final : public net::ResponseSink {
 public:
  explicit Collector(net::EventLoop& loop) : loop_(loop) {}
  void on_head(const net::ResponseHead& head) override { status = head.status; }
  void on_body(std::string_view bytes) override { body += bytes; }
  void on_end(net::CallEnd, std::string_view message) override {
    failure = std::string(message);
    loop_.stop();
  }
  int status = 0;
  std::string body;
  std::string failure;

 private:
  net::EventLoop& loop_;
};

class ServerBench {
 public:
  ServerBench(const Options& options, const net::Url& url,
              std::shared_ptr<const net::TlsClient> tls)
      : options_(options), path_(url.path), client_(loop_, url.endpoint, {}, std::move(tls)) {
    headers_.push_back({"content-type", "application/json"});
    if (!options.key.empty()) {
      authorization_ = "Bearer " + options.key;
      headers_.push_back({"authorization", authorization_});
    }
  }

  // The first model that the server lists.
  core::Result<std::string> find_model() {
    const auto sink = std::make_shared<Collector>(loop_);
    const std::string target = path_ + "/models";
    client_.send({.target = target, .headers = headers_}, sink);
    loop_.run();
    if (!sink->failure.empty()) return core::invalid("{}", sink->failure);
    const auto json = nlohmann::json::parse(sink->body, nullptr, false);
    const std::string id = text(member(first(member(json, "data")), "id"));
    if (sink->status != 200 || id.empty())
      return core::invalid("GET {}{}: status {}: {}", options_.url, "/models", sink->status,
                           sink->body.substr(0, 300));
    return id;
  }

  std::vector<Measured> run(int concurrency, uint64_t seed) {
    measured_.clear();
    left_ = options_.requests;
    seed_ = seed;
    for (int i = 0; i < std::min(concurrency, options_.requests); ++i) send_next();
    loop_.run();
    return std::move(measured_);
  }

 private:
  void send_next() {
    if (left_ == 0) return;
    --left_;
    const std::string body = request_body(options_, seed_++);
    const std::string target = path_ + "/chat/completions";
    client_.send(
        {.method = net::Method::kPost, .target = target, .headers = headers_, .body = body},
        std::make_shared<Probe>(clock_, [this](const Measured& measured) {
          measured_.push_back(measured);
          if (static_cast<int>(measured_.size()) == options_.requests) return loop_.stop();
          send_next();
        }));
  }

  const Options& options_;
  const std::string path_;
  std::string authorization_;
  std::vector<net::Header> headers_;
  core::SystemClock clock_;
  net::EventLoop loop_;
  net::HttpClient client_;
  std::vector<Measured> measured_;
  int left_ = 0;
  uint64_t seed_ = 0;
};

struct Row {
  int concurrency = 0;
  int done = 0;
  int failed = 0;
  std::string first_failure = {};
  double output_tok_s = 0;
  double prompt_tokens = 0;  // mean
  double ttft_p50_ms = 0, ttft_p99_ms = 0;
  double tpot_p50_ms = 0, tpot_p99_ms = 0;
};

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto last = values.size() - 1;
  return values[std::min(last, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

Row summarize(int concurrency, const std::vector<Measured>& all, double wall_s) {
  Row row{.concurrency = concurrency};
  std::vector<double> ttft_ms;
  std::vector<double> tpot_ms;
  int64_t tokens = 0;
  for (const Measured& one : all) {
    if (!one.failure.empty()) {
      if (row.failed++ == 0) row.first_failure = one.failure;
      continue;
    }
    ++row.done;
    tokens += one.completion_tokens;
    row.prompt_tokens += static_cast<double>(one.prompt_tokens);
    ttft_ms.push_back(static_cast<double>(one.first_ns) / 1e6);
    const auto gaps = static_cast<double>(std::max<int64_t>(one.completion_tokens - 1, 1));
    tpot_ms.push_back(static_cast<double>(one.rest_ns) / 1e6 / gaps);
  }
  row.output_tok_s = static_cast<double>(tokens) / wall_s;
  if (row.done > 0) row.prompt_tokens /= row.done;
  row.ttft_p50_ms = quantile(ttft_ms, 0.5);
  row.ttft_p99_ms = quantile(ttft_ms, 0.99);
  row.tpot_p50_ms = quantile(tpot_ms, 0.5);
  row.tpot_p99_ms = quantile(tpot_ms, 0.99);
  return row;
}

void print_text(const Row& row) {
  fmt::print("{:>7} {:>5} {:>5} {:>11.1f} {:>9.0f} {:>9.1f} {:>9.1f} {:>9.2f} {:>9.2f}\n",
             row.concurrency, row.done, row.failed, row.output_tok_s, row.prompt_tokens,
             row.ttft_p50_ms, row.ttft_p99_ms, row.tpot_p50_ms, row.tpot_p99_ms);
  if (row.failed > 0) fmt::print(stderr, "first failure: {}\n", row.first_failure);
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const Row& row, const Options& options) {
  return {{"model", options.model},
          {"concurrency", row.concurrency},
          {"requests", options.requests},
          {"completed", row.done},
          {"failed", row.failed},
          {"prompt_tokens", row.prompt_tokens},
          {"max_tokens", options.max_tokens},
          {"output_tok_s", row.output_tok_s},
          {"ttft_p50_ms", row.ttft_p50_ms},
          {"ttft_p99_ms", row.ttft_p99_ms},
          {"tpot_p50_ms", row.tpot_p50_ms},
          {"tpot_p99_ms", row.tpot_p99_ms}};
}

core::Result<int> bench(Options options) {
  net::Url url = TRY(net::parse_url(options.url));
  if (url.path.empty() || url.path == "/") url.path = "/v1";
  std::shared_ptr<const net::TlsClient> tls;
  if (url.scheme == net::Scheme::kHttps) tls = TRY(net::TlsClient::load(options.authorities_file));
  ServerBench server(options, url, std::move(tls));
  if (options.model.empty()) options.model = TRY(server.find_model());
  const bool text = options.output == "text";
  if (text)
    fmt::print(
        "{} at {}, {} requests of about {} + {} tokens each\n{:>7} {:>5} {:>5} {:>11} {:>9} "
        "{:>9} {:>9} {:>9} {:>9}\n",
        options.model, options.url, options.requests, options.prompt_tokens, options.max_tokens,
        "streams", "done", "fail", "out tok/s", "prompt", "TTFT p50", "p99 ms", "TPOT p50",
        "p99 ms");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const core::SystemClock clock;
  uint64_t seed = options.seed * 1'000'003;
  int failed = 0;
  for (const int concurrency : options.concurrency) {
    const int64_t start_ns = clock.now_ns();
    const std::vector<Measured> all = server.run(concurrency, seed);
    seed += static_cast<uint64_t>(options.requests);
    const Row row =
        summarize(concurrency, all, static_cast<double>(clock.now_ns() - start_ns) / 1e9);
    failed += row.failed;
    if (text) print_text(row);
    rows.push_back(to_json(row, options));
  }
  if (!text) fmt::print("{}\n", rows.dump(2));
  return failed == 0 ? 0 : 1;
}

}  // namespace

int run_bench_serve(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Speed of an OpenAI-compatible server as its users see it: streamed chat requests "
      "with different prompts.",
      "sluice bench serve"};
  app.add_option("--url", options.url, "of the server, /v1 is added if there is no path")
      ->capture_default_str();
  app.add_option("--ca-file", options.authorities_file,
                 "PEM: whose certificates an https server may show; none: the system's");
  app.add_option("--model", options.model, "the first that it lists if not given");
  app.add_option("--api-key", options.key, "sent as a bearer token");
  app.add_option("-c,--concurrency", options.concurrency, "streams at once, one row for each")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("-r,--requests", options.requests, "in each row")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-p,--prompt-tokens", options.prompt_tokens, "of a prompt, about")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-n,--max-tokens", options.max_tokens, "of an answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--seed", options.seed, "of the prompts")->capture_default_str();
  add_output_option(app, &options.output);
  app.footer("Example: sluice bench serve --url http://127.0.0.1:8000 -c 1 4 16 -r 64");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = bench(std::move(options));
  return done.ok() ? *done : report("bench serve", done.error());
}

}  // namespace sluice::apps
