// A gateway on a thread of its own, before upstreams that answer as a test says, with records kept
// in memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "contract/request_id.h"
#include "core/clock.h"
#include "gateway/edge/gateway.h"
#include "gateway/limits/limit_table.h"
#include "gateway/prompts/model_texts.h"
#include "ledger/ledger.h"
#include "net/blocking_client.h"
#include "net/http_server.h"
#include "tests/net/peers.h"

namespace sluice::gateway {

// Keeps what it is given; refuses when told to.
class EdgeRecords final : public contract::RecordSink {
 public:
  bool append(const contract::Reservation& record) override;
  bool append(const contract::UsageEvent& record) override;
  bool append(const contract::ChangeRecord&) override { return true; }
  bool append(const contract::BalanceChange&) override { return true; }

  void refuse_from_now_on() { refusing_ = true; }
  // Waits until there are so many events.
  std::vector<contract::UsageEvent> events(size_t count);
  size_t reservations();
  // Applies everything to a ledger: each event settles its reservation, and nothing stays open.
  void expect_balanced();

 private:
  bool keep(const contract::Record& record);
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<contract::Record> records_;
  std::atomic<bool> refusing_ = false;
};

inline constexpr char kSecret[] = "sk-test";
inline constexpr char kBody[] =
    R"({"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":8})";
inline constexpr char kStreamBody[] =
    R"({"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":8,"stream":true})";
inline constexpr char kAnswer[] =
    R"({"id":"c-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,)"
    R"("message":{"role":"assistant","content":"a \"usage\": {"},"finish_reason":"stop"}],)"
    R"("usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50,)"
    R"("prompt_tokens_details":{"cached_tokens":5}}})";

// With a header that no client may see.
void send_json(net::Responder& responder, int status, std::string_view body);

// One tenant, one project, key_1 for kSecret; model "m" with a replica per upstream, r0, r1 …
contract::Snapshot edge_snapshot(const std::vector<uint16_t>& upstreams);

// Of all lines of the event.
int64_t quantity(const contract::UsageEvent& event, contract::Unit unit);

// Of GatewayOptions.
struct EdgeDoors {
  std::string guest_key = {};
  std::string default_model = {};
  std::string allowed_origin = {};
};

class Edge {
 public:
  explicit Edge(contract::Snapshot snapshot, EdgeLimits limits = {},
                net::ServerLimits server_limits = {}, EdgeDoors doors = {});
  ~Edge();

  uint16_t port() const { return port_; }
  EdgeRecords& records() { return records_; }
  void update(contract::Snapshot snapshot);
  void take_secrets(std::map<std::string, std::string> secrets);  // in place of "engine"
  void drain();
  void end_all();
  LoopMetrics& metrics() { return metrics_; }
  const RoutingTable& table() const { return *table_; }

  // One request over a connection of its own.
  net::Response post(std::string_view body, std::string_view path = "/v1/chat/completions",
                     std::vector<net::Header> headers = {});
  net::Response get(std::string_view path);

 private:
  core::SystemClock clock_;
  core::Logger log_{core::LogLevel::kError};
  EdgeRecords records_;
  contract::RequestIds ids_{7, 1};
  LimitTable limits_{clock_};
  Estimates estimates_;
  ModelTexts texts_{log_};
  LoopMetrics metrics_;
  net::LoopThread thread_;
  std::shared_ptr<const RoutingTable> table_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<net::HttpServer> server_;
  uint16_t port_ = 0;
};

// "" where there is no such header.
std::string header_of(const net::Response& response, std::string_view name);

std::string post_text(std::string_view body, std::string_view more_headers = "");

}  // namespace sluice::gateway
