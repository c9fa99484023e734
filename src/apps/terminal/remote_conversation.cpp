#include "apps/terminal/remote_conversation.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "net/blocking_client.h"
#include "net/sse.h"

namespace sluice::apps {
namespace {

using nlohmann::json;

// Whatever a foreign server sends, these do not throw.
json member(const json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object[key] : json();
}
std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}
json first_of(const json& list) {
  return list.is_array() && !list.empty() ? list[0] : json();
}
// What the server says is wrong, or the whole of it where it says it in another form.
std::string error_text(const json& answer, const std::string& whole) {
  const std::string message = text_of(member(member(answer, "error"), "message"));
  return message.empty() ? whole : message;
}

struct Server {
  net::Url url;
  std::shared_ptr<const net::TlsClient> tls;
  std::string authorization;

  std::vector<net::Header> headers() const {
    std::vector<net::Header> list = {{"content-type", "application/json"}};
    if (!authorization.empty()) list.push_back({"authorization", authorization});
    return list;
  }
};

// Prints one answer as it comes.
class Printer final : public net::ResponseSink {
 public:
  Printer(net::EventLoop& loop, bool styled) : loop_(loop), styled_(styled) {}

  void on_head(const net::ResponseHead& head) override { status_ = head.status; }
  void on_body(std::string_view bytes) override {
    if (status_ != 200) {
      refusal_ += bytes;
      return;
    }
    const auto fed = parser_.feed(bytes, [this](const net::SseEvent& event) { take(event.data); });
    if (!fed.ok()) failure_ = fed.error().message;
  }
  void on_end(net::CallEnd end, std::string_view message) override {
    if (end != net::CallEnd::kComplete)
      failure_ = message;
    else if (status_ != 200)
      failure_ = fmt::format("{} ({})", error_text(json::parse(refusal_, nullptr, false), refusal_),
                             status_);
    loop_.stop();
  }

  const std::string& failure() const { return failure_; }  // "": none
  const std::string& content() const { return content_; }

 private:
  void take(std::string_view data) {
    if (data == "[DONE]") return;
    const json event = json::parse(data, nullptr, false);
    if (!member(event, "error").is_null()) failure_ = error_text(event, std::string(data));
    const json delta = member(first_of(member(event, "choices")), "delta");
    for (const char* key : {"reasoning_content", "reasoning"})
      print_thought(text_of(member(delta, key)));
    const std::string said = text_of(member(delta, "content"));
    if (!said.empty() && content_.empty() && thought_) fmt::print("\n\n");
    fmt::print("{}", said);
    content_ += said;
    std::fflush(stdout);
  }
  void print_thought(const std::string& thought) {
    if (thought.empty()) return;
    thought_ = true;
    fmt::print("{}{}{}", styled_ ? "\x1b[2m" : "", thought, styled_ ? "\x1b[0m" : "");
  }

  net::EventLoop& loop_;
  const bool styled_;
  net::SseParser parser_;
  int status_ = 0;
  bool thought_ = false;
  std::string refusal_;
  std::string failure_;
  std::string content_;
};

class RemoteConversation final : public Conversation {
 public:
  RemoteConversation(RemoteOptions options, Server server)
      : options_(std::move(options)),
        server_(std::move(server)),
        client_(loop_, server_.url.endpoint, {}, server_.tls),
        styled_(isatty(STDOUT_FILENO) != 0) {
    if (is_interactive()) loop_.handle_signals({SIGINT}, [this](int) { stop_answer(); });
    clear();
  }

  void clear() override {
    messages_ = json::array();
    if (!options_.system.empty())
      messages_.push_back({{"role", "system"}, {"content", options_.system}});
  }
  void set_system(std::string text) override {
    options_.system = std::move(text);
    clear();
  }

  core::Result<void> ask(const std::string& question) override {
    json messages = messages_;
    messages.push_back({{"role", "user"}, {"content", question}});
    const std::string body = request(messages).dump(-1, ' ', false, json::error_handler_t::replace);
    const std::string target = server_.url.path + "/chat/completions";
    const std::vector<net::Header> headers = server_.headers();
    forget_interrupts(loop_);
    stopped_ = false;
    const auto printer = std::make_shared<Printer>(loop_, styled_);
    call_ = client_.send(
        {.method = net::Method::kPost, .target = target, .headers = headers, .body = body},
        printer);
    answering_ = true;
    loop_.run();
    answering_ = false;
    fmt::print("{}\n", stopped_ && styled_ ? " \x1b[2m[stopped]\x1b[0m" : "");
    std::fflush(stdout);
    if (!printer->failure().empty()) return core::invalid("{}", printer->failure());
    messages.push_back({{"role", "assistant"}, {"content", printer->content()}});
    messages_ = std::move(messages);
    return {};
  }

 private:
  json request(const json& messages) const {
    const api::SamplingFields& sampling = options_.fields.sampling;
    const api::StopFields& stopping = options_.fields.stopping;
    json body = {{"model", options_.model},
                 {"messages", messages},
                 {"stream", true},
                 {"temperature", sampling.temperature},
                 {"top_p", sampling.top_p}};
    // Not every server knows these.
    if (sampling.min_p > 0) body["min_p"] = sampling.min_p;
    if (sampling.top_k > 0) body["top_k"] = sampling.top_k;
    if (sampling.repetition_penalty != 1) body["repetition_penalty"] = sampling.repetition_penalty;
    if (sampling.seed) body["seed"] = *sampling.seed;
    if (stopping.max_tokens) body["max_tokens"] = *stopping.max_tokens;
    if (!stopping.stop.empty()) body["stop"] = stopping.stop;
    return body;
  }
  void stop_answer() {
    if (!answering_) return;
    stopped_ = true;
    call_.cancel();
    loop_.stop();
  }

  RemoteOptions options_;
  const Server server_;
  net::EventLoop loop_;
  net::HttpClient client_;
  net::ClientCall call_;
  const bool styled_;
  json messages_;
  bool answering_ = false;
  bool stopped_ = false;
};

core::Result<std::string> first_model(const Server& server) {
  net::BlockingClient client(server.url.endpoint, {}, server.tls);
  const std::string target = server.url.path + "/models";
  const std::vector<net::Header> headers = server.headers();
  const net::Response response = TRY(client.request({.target = target, .headers = headers}));
  const json answer = json::parse(response.body, nullptr, false);
  if (response.status != 200)
    return core::invalid("{} ({})", error_text(answer, response.body), response.status);
  const std::string model = text_of(member(first_of(member(answer, "data")), "id"));
  if (model.empty()) return core::invalid("the server lists no model");
  return model;
}

}  // namespace

core::Result<std::unique_ptr<Conversation>> connect(RemoteOptions options) {
  Server server;
  server.url = TRY(net::parse_url(options.url));
  if (server.url.path.empty() || server.url.path == "/") server.url.path = "/v1";
  if (server.url.scheme == net::Scheme::kHttps) server.tls = TRY(net::TlsClient::load(""));
  if (!options.key.empty()) server.authorization = "Bearer " + options.key;
  if (options.model.empty()) options.model = TRY(first_model(server));
  return std::unique_ptr<Conversation>(
      std::make_unique<RemoteConversation>(std::move(options), std::move(server)));
}

}  // namespace sluice::apps
