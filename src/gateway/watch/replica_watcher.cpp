#include "gateway/watch/replica_watcher.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "api/engine_event.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace sluice::gateway {

namespace {

// "" where it names none, or one that nobody knows.
std::string secret_of(const contract::Replica& replica,
                      const std::map<std::string, std::string>& secrets) {
  const auto secret = secrets.find(replica.secret);
  return secret == secrets.end() ? "" : secret->second;
}

bool is_engine(const contract::Replica& replica) {
  return replica.kind == contract::ReplicaKind::kSluice;
}

}  // namespace

// One replica. Its calls hold no reference to it: they end with its client.
class ReplicaWatcher::Watch {
 public:
  // Null where its URL or certificate is wrong, which the log says.
  static std::unique_ptr<Watch> make(const Parts& parts, const contract::Replica& replica);

  bool is_for(const contract::Replica& replica) const {
    return replica.url == url_ && replica.certificate_file == certificate_file_ &&
           is_engine(replica) == is_engine_ && secret_of(replica, parts_.secrets) == secret_;
  }
  void set(std::shared_ptr<const RoutingTable> table, const RoutedReplica& routed) {
    table_ = std::move(table);
    routed_ = &routed;
  }
  void tick(int64_t now_ns);

 private:
  class ProbeSink;
  class EventSink;

  Watch(const Parts& parts, const contract::Replica& replica)
      : parts_(parts),
        url_(replica.url),
        certificate_file_(replica.certificate_file),
        secret_(secret_of(replica, parts.secrets)),
        is_engine_(is_engine(replica)) {}

  void probe();
  void listen();
  void take(std::string_view json);

  const Parts& parts_;
  const std::string url_;
  const std::string certificate_file_;
  const std::string secret_;  // "": none
  const bool is_engine_;
  std::string root_;  // path before "/v1"
  std::shared_ptr<const RoutingTable> table_;
  const RoutedReplica* routed_ = nullptr;  // of the table
  bool probing_ = false;
  bool listening_ = false;
  int64_t listen_again_ns_ = 0;
  std::string last_event_id_;  // "": a snapshot is wanted
  net::ClientCall events_;
  std::unique_ptr<net::HttpClient> client_;  // its end comes first: its calls use everything
};

// Any answer but a server's error is one.
class ReplicaWatcher::Watch::ProbeSink final : public net::ResponseSink {
 public:
  ProbeSink(Watch& watch, int64_t sent_ns) : watch_(watch), sent_ns_(sent_ns) {}
  void on_head(const net::ResponseHead& head) override {
    status_ = head.status;
    answered_ns_ = watch_.parts_.clock.now_ns();
  }
  void on_body(std::string_view) override {}
  void on_end(net::CallEnd end, std::string_view) override {
    watch_.probing_ = false;
    const bool up = end == net::CallEnd::kComplete && status_ < 500;
    watch_.routed_->tracker->on_probe(up ? ProbeResult::kUp : ProbeResult::kDown,
                                      up ? answered_ns_ - sent_ns_ : 0,
                                      watch_.parts_.clock.now_ns());
  }

 private:
  Watch& watch_;
  const int64_t sent_ns_;
  int64_t answered_ns_ = 0;
  int status_ = 0;
};

class ReplicaWatcher::Watch::EventSink final : public net::ResponseSink {
 public:
  explicit EventSink(Watch& watch) : watch_(watch) {}
  void on_head(const net::ResponseHead& head) override {
    accepted_ = head.status == 200;
    if (!accepted_)
      watch_.parts_.log.warning("replica '{}': GET /internal/events: status {}",
                                watch_.routed_->entry->replica->id, head.status);
  }
  void on_body(std::string_view bytes) override {
    if (!accepted_) return;
    const auto fed =
        parser_.feed(bytes, [&](const net::SseEvent& event) { watch_.take(event.data); });
    if (!fed.ok()) accepted_ = false;
  }
  void on_end(net::CallEnd, std::string_view) override {
    watch_.listening_ = false;
    watch_.listen_again_ns_ = watch_.parts_.clock.now_ns() + kReconnectNs;
  }

 private:
  Watch& watch_;
  net::SseParser parser_;
  bool accepted_ = false;
};

std::unique_ptr<ReplicaWatcher::Watch> ReplicaWatcher::Watch::make(
    const Parts& parts, const contract::Replica& replica) {
  std::unique_ptr<Watch> watch(new Watch(parts, replica));
  const core::Result<net::Url> url = net::parse_url(replica.url);
  std::shared_ptr<const net::TlsClient> tls;
  const auto refuse = [&](std::string_view why) {
    parts.log.error("replica '{}' is not watched: {}", replica.id, why);
    return nullptr;
  };
  if (!url.ok()) return refuse(url.error().message);
  if (url.value().scheme == net::Scheme::kHttps) {
    auto loaded = net::TlsClient::load(replica.certificate_file);
    if (!loaded.ok()) return refuse(loaded.error().message);
    tls = std::move(loaded).value();
  }
  watch->root_ = url.value().path;
  if (watch->root_.ends_with("/v1")) watch->root_.resize(watch->root_.size() - 3);
  constexpr int64_t kSilenceMaxNs = 10'000'000'000;  // an engine says something once a second
  watch->client_ = std::make_unique<net::HttpClient>(
      parts.loop, url.value().endpoint,
      net::ClientLimits{.connect_timeout_ns = Health::kProbeTimeoutNs,
                        .response_timeout_ns = Health::kProbeTimeoutNs,
                        .stall_timeout_ns = kSilenceMaxNs},
      std::move(tls));
  return watch;
}

void ReplicaWatcher::Watch::tick(int64_t now_ns) {
  if (!probing_ && routed_->tracker->probe_due(now_ns)) probe();
  if (is_engine_ && !secret_.empty() && !listening_ && now_ns >= listen_again_ns_) listen();
}

void ReplicaWatcher::Watch::probe() {
  probing_ = true;
  const std::string target = is_engine_ ? root_ + "/health" : root_ + "/v1/models";
  const std::string authorization = "Bearer " + secret_;
  std::vector<net::Header> headers;
  if (!is_engine_ && !secret_.empty()) headers.push_back({"authorization", authorization});
  client_->send({.target = target, .headers = headers},
                std::make_shared<ProbeSink>(*this, parts_.clock.now_ns()));
}

void ReplicaWatcher::Watch::listen() {
  listening_ = true;
  const std::string target = root_ + "/internal/events";
  std::vector<net::Header> headers = {{"x-sluice-key", secret_}};
  if (!last_event_id_.empty()) headers.push_back({"last-event-id", last_event_id_});
  events_ =
      client_->send({.target = target, .headers = headers}, std::make_shared<EventSink>(*this));
}

void ReplicaWatcher::Watch::take(std::string_view json) {
  const auto parsed = api::parse_engine_event(json);
  if (!parsed.ok())
    return parts_.log.warning("replica '{}': an event that is none: {}",
                              routed_->entry->replica->id, parsed.error().message);
  const api::HeardEngineEvent& news = parsed.value();
  const int64_t now_ns = parts_.clock.now_ns();
  table_->on_geometry(*routed_->entry, {.kind = PrefixGeometry::Kind::kTokens,
                                        .page_tokens = static_cast<int32_t>(news.page_tokens),
                                        .name_space = news.name_space});
  table_->on_context(*routed_->entry, news.context_tokens_max);
  const bool follows = table_->prefixes().on_pages(
      routed_->slot,
      {.kind = news.snapshot ? PageNews::Kind::kSnapshot : PageNews::Kind::kChanges,
       .epoch = news.epoch,
       .sequence = news.sequence,
       .added = news.added,
       .removed = news.removed},
      now_ns);
  last_event_id_ = follows ? fmt::format("{}-{}", news.epoch, news.sequence) : "";
  routed_->tracker->on_load(
      {.running = news.load.running,
       .waiting = news.load.waiting,
       .queued_prompt_tokens = news.load.queued_prompt_tokens,
       .pages_used = news.load.pages_used,
       .pages_cached = news.load.pages_cached,
       .pages = news.load.pages,
       .state = news.draining ? contract::ReplicaState::kDraining : contract::ReplicaState::kReady},
      now_ns);
  if (follows) return;
  // The stream of a cancelled call does not say that it ended. Not here: this is its callback.
  parts_.loop.post([call = events_]() mutable { call.cancel(); });
  listening_ = false;
  listen_again_ns_ = now_ns + kTickNs;
}

ReplicaWatcher::ReplicaWatcher(Parts parts) : parts_(std::move(parts)), timer_(parts_.loop) {}
ReplicaWatcher::~ReplicaWatcher() = default;

void ReplicaWatcher::update(std::shared_ptr<const RoutingTable> table) {
  auto before = std::exchange(by_id_, {});
  table_ = std::move(table);
  for (const RoutedReplica& routed : table_->replicas()) {
    const contract::Replica& replica = *routed.entry->replica;
    if (replica.url.empty()) continue;  // it is still to come
    const auto old = before.find(replica.id);
    std::unique_ptr<Watch> watch = old != before.end() && old->second->is_for(replica)
                                       ? std::move(old->second)
                                       : Watch::make(parts_, replica);
    if (watch == nullptr) continue;
    watch->set(table_, routed);
    by_id_.emplace(replica.id, std::move(watch));
  }
  std::erase_if(before, [](const auto& row) { return row.second == nullptr; });
  tick();
}

void ReplicaWatcher::take_secrets(std::map<std::string, std::string> secrets) {
  parts_.secrets = std::move(secrets);
  if (table_ != nullptr) update(table_);
}

void ReplicaWatcher::tick() {
  const int64_t now_ns = parts_.clock.now_ns();
  for (const auto& [id, watch] : by_id_) watch->tick(now_ns);
  if (now_ns - swept_ns_ >= kSweepNs) {
    swept_ns_ = now_ns;
    table_->sweep(now_ns);
  }
  timer_.start(kTickNs, [this] { tick(); });
}

}  // namespace sluice::gateway
