#include "apps/gateway/data_loop.h"

#include <utility>

#include "core/turns.h"

namespace sluice::apps {

DataLoop::DataLoop(const DataLoopShared& shared, uint64_t seed)
    : shared_(shared), loop_(shared.front.spin_ns), stats_timer_(loop_) {
  if (shared.access_log_descriptor >= 0)
    access_log_ = std::make_unique<AccessLogFile>(loop_, shared.access_log_descriptor);
  if (shared.collector)
    exporter_ = std::make_unique<gateway::SpanExporter>(
        gateway::SpanExporterOptions{.loop = loop_,
                                     .log = shared.log,
                                     .collector = *shared.collector,
                                     .service_version = SLUICE_VERSION});
  gateway::EndObserver observer;
  if (access_log_ || exporter_)
    observer = [this](const auto& event, const auto& extras, const auto& span) {
      on_end(event, extras, span);
    };
  gateway_ = std::make_unique<gateway::Gateway>(
      gateway::GatewayOptions{.loop = loop_,
                              .clock = shared.clock,
                              .log = shared.log,
                              .records = shared.records,
                              .request_ids = shared.request_ids,
                              .limits = shared.limits,
                              .estimates = shared.estimates,
                              .texts = shared.texts,
                              .metrics = metrics_,
                              .hash_keys = shared.hash_keys,
                              .secrets = shared.secrets,
                              .signer = shared.signer,
                              .on_end = std::move(observer),
                              .edge = shared.front.edge,
                              .guest_key = shared.front.guest_key,
                              .default_model = shared.front.default_model,
                              .allowed_origin = shared.front.allowed_origin,
                              .seed = seed});
  server_ = std::make_unique<net::HttpServer>(net::ServerOptions{
      .loop = loop_,
      .limits = shared.front.http_limits,
      .handler = [this](
                     const net::Request& request,
                     net::Responder responder) { gateway_->handle(request, std::move(responder)); },
      .check_head = [this](const net::Request& head) { return gateway_->check_head(head); },
      .refusal = [this](int status,
                        std::string_view message) { return gateway_->refusal(status, message); },
      .tls = shared.tls,
      .port_use = shared.port_use});
}

DataLoop::~DataLoop() {
  loop_.stop();
  if (thread_.joinable()) thread_.join();
}

core::Result<uint16_t> DataLoop::listen(const gateway::ListenAddress& address) {
  return server_->listen(address.host, address.port);
}

void DataLoop::run() {
  if (exporter_) exporter_->start();
  take_stats();
  thread_ = std::thread([this] {
    core::ask_for_short_turns();
    loop_.run();
  });
}

void DataLoop::update(std::shared_ptr<const gateway::RoutingTable> table,
                      gateway::Gateway::Limits limits, Updated done) {
  loop_.post([this, table = std::move(table), limits, done = std::move(done)]() mutable {
    done(gateway_->update(std::move(table), limits));
  });
}

void DataLoop::take_secrets(std::map<std::string, std::string> secrets) {
  loop_.post([this, secrets = std::move(secrets)]() mutable {
    gateway_->take_secrets(std::move(secrets));
  });
}

void DataLoop::drain(std::function<void()> done) {
  loop_.post([this, done = std::move(done)]() mutable {
    gateway_->drain();
    server_->stop_accepting();
    server_->on_idle(std::move(done));
  });
}

void DataLoop::end_all(std::function<void()> done) {
  loop_.post([this, done = std::move(done)] {
    gateway_->end_all();
    done();
  });
}

net::ServerStats DataLoop::http_stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

void DataLoop::take_stats() {
  {
    std::lock_guard lock(stats_mutex_);
    stats_ = server_->stats();
  }
  stats_timer_.start(kStatsIntervalNs, [this] { take_stats(); });
}

void DataLoop::on_end(const contract::UsageEvent& event, const gateway::AccessExtras& extras,
                      const gateway::Span& span) {
  if (access_log_) access_log_->add(event, extras);
  if (exporter_ && span.self.sampled) exporter_->add({span, event});
}

}  // namespace sluice::apps
