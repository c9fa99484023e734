#include "apps/bench/server_load.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "api/json_writer.h"
#include "core/clock.h"
#include "core/rng.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace sluice::apps {
namespace {

// Common English words.
constexpr std::string_view kWords[] = {"water",  "light",  "river",  "stone",  "early",  "paper",
                                       "music",  "green",  "house",  "letter", "number", "little",
                                       "system", "garden", "winter", "answer", "simple", "market",
                                       "window", "silver", "travel", "second", "spring", "people"};
constexpr double kTokensPerWord = 1.2;  // about, in the vocabularies of today

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

std::string request_body(const ServerLoadOptions& options, int words, uint64_t seed) {
  core::Rng rng(seed);
  std::string text;
  for (int i = 0; i < words; ++i) {
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

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto last = values.size() - 1;
  return values[std::min(last, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

ServerRow summarize(int concurrency, const std::vector<Measured>& all, double wall_s) {
  ServerRow row{.concurrency = concurrency, .requests = static_cast<int>(all.size())};
  std::vector<double> ttft_ms;
  std::vector<double> tpot_ms;
  for (const Measured& one : all) {
    if (!one.failure.empty()) {
      if (row.failed++ == 0) row.first_failure = one.failure;
      continue;
    }
    ++row.done;
    row.output_tokens += one.completion_tokens;
    row.prompt_tokens += static_cast<double>(one.prompt_tokens);
    ttft_ms.push_back(static_cast<double>(one.first_ns) / 1e6);
    const auto gaps = static_cast<double>(std::max<int64_t>(one.completion_tokens - 1, 1));
    tpot_ms.push_back(static_cast<double>(one.rest_ns) / 1e6 / gaps);
  }
  row.wall_s = wall_s;
  row.output_tok_s = static_cast<double>(row.output_tokens) / wall_s;
  if (row.done > 0) row.prompt_tokens /= row.done;
  row.ttft_p50_ms = quantile(ttft_ms, 0.5);
  row.ttft_p99_ms = quantile(ttft_ms, 0.99);
  row.tpot_p50_ms = quantile(tpot_ms, 0.5);
  row.tpot_p99_ms = quantile(tpot_ms, 0.99);
  return row;
}

}  // namespace

nlohmann::ordered_json to_json(const ServerRow& row, const ServerLoadOptions& options) {
  return {{"model", options.model},
          {"concurrency", row.concurrency},
          {"requests", row.requests},
          {"completed", row.done},
          {"failed", row.failed},
          {"first_failure",
           row.failed > 0 ? nlohmann::ordered_json(row.first_failure) : nlohmann::ordered_json()},
          {"prompt_tokens", row.prompt_tokens},
          {"max_tokens", options.max_tokens},
          {"output_tokens", row.output_tokens},
          {"wall_s", row.wall_s},
          {"output_tok_s", row.output_tok_s},
          {"ttft_p50_ms", row.ttft_p50_ms},
          {"ttft_p99_ms", row.ttft_p99_ms},
          {"tpot_p50_ms", row.tpot_p50_ms},
          {"tpot_p99_ms", row.tpot_p99_ms}};
}

struct ServerLoad::State {
  State(ServerLoadOptions given, const net::Url& url, std::shared_ptr<const net::TlsClient> tls)
      : options(std::move(given)),
        path(url.path),
        words(std::max(1, static_cast<int>(options.prompt_tokens / kTokensPerWord))),
        client(loop, url.endpoint, {}, std::move(tls)),
        next_seed(options.seed * 1'000'003) {
    headers.push_back({"content-type", "application/json"});
    if (options.key.empty()) return;
    authorization = "Bearer " + options.key;
    headers.push_back({"authorization", authorization});
  }

  // The first model that the server lists.
  core::Result<std::string> find_model() {
    const auto sink = std::make_shared<Collector>(loop);
    const std::string target = path + "/models";
    client.send({.target = target, .headers = headers}, sink);
    loop.run();
    if (!sink->failure.empty()) return core::invalid("{}", sink->failure);
    const auto json = nlohmann::json::parse(sink->body, nullptr, false);
    const std::string id = text(member(first(member(json, "data")), "id"));
    if (sink->status != 200 || id.empty())
      return core::invalid("GET {}{}: status {}: {}", options.url, "/models", sink->status,
                           sink->body.substr(0, 300));
    return id;
  }

  void send(const std::string& body, std::function<void(const Measured&)> done) {
    const std::string target = path + "/chat/completions";
    client.send({.method = net::Method::kPost, .target = target, .headers = headers, .body = body},
                std::make_shared<Probe>(clock, std::move(done)));
  }

  // One request says how many tokens the server's model has for such words and its template.
  void fit_words() {
    ServerLoadOptions one_token = options;
    one_token.max_tokens = 1;
    int64_t tokens = 0;
    send(request_body(one_token, words, next_seed++), [&](const Measured& one) {
      tokens = one.prompt_tokens;
      loop.stop();
    });
    loop.run();
    if (tokens <= 0) return;
    const double wanted = static_cast<double>(options.prompt_tokens) / static_cast<double>(tokens);
    words = std::max(1, static_cast<int>(std::lround(words * wanted)));
  }

  void send_next() {
    if (left == 0) return;
    --left;
    send(request_body(options, words, next_seed++), [this](const Measured& one) {
      measured.push_back(one);
      if (static_cast<int>(measured.size()) == options.requests) return loop.stop();
      send_next();
    });
  }

  ServerLoadOptions options;
  const std::string path;
  int words;  // of a prompt
  std::string authorization;
  std::vector<net::Header> headers;
  core::SystemClock clock;
  net::EventLoop loop;
  net::HttpClient client;
  uint64_t next_seed;
  std::vector<Measured> measured;  // of the row under way
  int left = 0;
};

ServerLoad::ServerLoad(std::unique_ptr<State> state) : state_(std::move(state)) {}
ServerLoad::~ServerLoad() = default;

const ServerLoadOptions& ServerLoad::options() const {
  return state_->options;
}

core::Result<std::unique_ptr<ServerLoad>> ServerLoad::connect(ServerLoadOptions options) {
  net::Url url = TRY(net::parse_url(options.url));
  if (url.path.empty() || url.path == "/") url.path = "/v1";
  std::shared_ptr<const net::TlsClient> tls;
  if (url.scheme == net::Scheme::kHttps) tls = TRY(net::TlsClient::load(options.authorities_file));
  auto state = std::make_unique<State>(std::move(options), url, std::move(tls));
  if (state->options.model.empty()) state->options.model = TRY(state->find_model());
  state->fit_words();
  return std::unique_ptr<ServerLoad>(new ServerLoad(std::move(state)));
}

ServerRow ServerLoad::run(int concurrency) {
  State& s = *state_;
  s.measured.clear();
  s.left = s.options.requests;
  const int64_t begin_ns = s.clock.now_ns();
  for (int i = 0; i < std::min(concurrency, s.options.requests); ++i) s.send_next();
  s.loop.run();
  return summarize(concurrency, s.measured, static_cast<double>(s.clock.now_ns() - begin_ns) / 1e9);
}

}  // namespace sluice::apps
