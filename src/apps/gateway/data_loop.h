// One data loop of a gateway: a thread with its own server, its own connections to replicas and its
// own counters. Nothing of it waits for another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "apps/gateway/access_log_file.h"
#include "gateway/admin/config.h"
#include "gateway/edge/gateway.h"
#include "gateway/metrics/span_exporter.h"
#include "net/http_server.h"

namespace sluice::apps {

// How a gateway faces its clients, beside what its configuration says.
struct FrontOptions {
  net::ServerLimits http_limits = {.connections_max = 20'000};  // of each data loop
  gateway::EdgeLimits edge = {};
  int64_t spin_ns = 0;              // of each loop: net::EventLoop
  std::string guest_key = {};       // gateway::GatewayOptions
  std::string default_model = {};   // the same
  std::string allowed_origin = {};  // the same
};

// What all data loops share; outlives them.
struct DataLoopShared {
  const core::Clock& clock;
  const core::Logger& log;
  contract::RecordSink& records;
  contract::RequestIds& request_ids;
  gateway::LimitTable& limits;
  gateway::Estimates& estimates;
  const gateway::ModelTexts& texts;
  const contract::ReceiptSigner* signer = nullptr;
  std::vector<gateway::HashKey> hash_keys;
  std::map<std::string, std::string> secrets;  // of the start
  std::shared_ptr<const net::TlsServer> tls;   // null: plain HTTP
  int access_log_descriptor = -1;              // -1: none
  std::optional<net::Url> collector;           // of spans
  FrontOptions front;
  net::PortUse port_use = net::PortUse::kAlone;
};

class DataLoop {
 public:
  DataLoop(const DataLoopShared& shared, uint64_t seed);
  ~DataLoop();  // ends the thread
  DataLoop(const DataLoop&) = delete;
  DataLoop& operator=(const DataLoop&) = delete;

  // Before run(). Returns the port.
  core::Result<uint16_t> listen(const gateway::ListenAddress& address);
  void run();  // on a thread of its own

  // From any thread. `done`, on the loop's thread, gets what Gateway::update() returns.
  using Updated = std::function<void(std::vector<contract::RequestId>)>;
  void update(std::shared_ptr<const gateway::RoutingTable> table, gateway::Gateway::Limits limits,
              Updated done);
  // From any thread: of replicas, by the names that they give.
  void take_secrets(std::map<std::string, std::string> secrets);
  // Calls `done` on the loop's thread, where the updates before this call hold by then.
  void after_updates(std::function<void()> done) { loop_.post(std::move(done)); }
  // No new connection, running requests are answered; then `done` on the loop's thread.
  void drain(std::function<void()> done);
  // What still runs ends with an error; then `done` on the loop's thread.
  void end_all(std::function<void()> done);
  const gateway::LoopMetrics& metrics() const { return metrics_; }
  net::ServerStats http_stats() const;  // of the last second
  int64_t spans_dropped() const { return exporter_ ? exporter_->dropped() : 0; }

 private:
  static constexpr int64_t kStatsIntervalNs = 1'000'000'000;
  void on_end(const contract::UsageEvent& event, const gateway::AccessExtras& extras,
              const gateway::Span& span);
  void take_stats();

  const DataLoopShared& shared_;
  net::EventLoop loop_;
  gateway::LoopMetrics metrics_;
  std::unique_ptr<AccessLogFile> access_log_;
  std::unique_ptr<gateway::SpanExporter> exporter_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<net::HttpServer> server_;
  net::Timer stats_timer_;
  mutable std::mutex stats_mutex_;
  net::ServerStats stats_;
  std::thread thread_;
};

}  // namespace sluice::apps
