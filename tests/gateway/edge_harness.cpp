#include "tests/gateway/edge_harness.h"

#include <algorithm>
#include <chrono>

#include <gtest/gtest.h>

#include "ledger/account.h"

namespace sluice::gateway {
namespace {

const std::vector<HashKey> kHashKeys = {{"h1", std::string(32, 's')}};
const std::vector<std::string> kHashKeyIds = {"h1"};

}  // namespace

bool EdgeRecords::keep(const contract::Record& record) {
  if (refusing_) return false;
  const std::lock_guard lock(mutex_);
  records_.push_back(record);
  changed_.notify_all();
  return true;
}
bool EdgeRecords::append(const contract::Reservation& record) {
  return keep(record);
}
bool EdgeRecords::append(const contract::UsageEvent& record) {
  return keep(record);
}

std::vector<contract::UsageEvent> EdgeRecords::events(size_t count) {
  std::unique_lock lock(mutex_);
  std::vector<contract::UsageEvent> found;
  const auto enough = [&] {
    found.clear();
    for (const contract::Record& record : records_)
      if (const auto* event = std::get_if<contract::UsageEvent>(&record)) found.push_back(*event);
    return found.size() >= count;
  };
  changed_.wait_for(lock, std::chrono::milliseconds(net::kPatienceMs), enough);
  EXPECT_EQ(found.size(), count);
  found.resize(count);
  return found;
}

size_t EdgeRecords::reservations() {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::count_if(records_.begin(), records_.end(), [](const contract::Record& record) {
        return std::holds_alternative<contract::Reservation>(record);
      }));
}

void EdgeRecords::expect_balanced() {
  const std::lock_guard lock(mutex_);
  ledger::Ledger ledger;
  for (const contract::Record& record : records_) {
    const auto applied = ledger.apply(record);
    ASSERT_TRUE(applied.ok()) << applied.error().message;
  }
  EXPECT_TRUE(ledger.open_reservations().empty());
}

int64_t quantity(const contract::UsageEvent& event, contract::Unit unit) {
  int64_t sum = 0;
  for (const contract::UsageLine& line : event.lines)
    if (line.unit == unit && line.side != contract::LineSide::kCostOnly) sum += line.quantity;
  return sum;
}

void send_json(net::Responder& responder, int status, std::string_view body) {
  const net::Header headers[] = {{"Content-Type", "application/json"}, {"x-secret", "s"}};
  responder.send(status, headers, body);
}

contract::Snapshot edge_snapshot(const std::vector<uint16_t>& upstreams) {
  contract::Snapshot snapshot;
  snapshot.generation = 1;
  contract::Tenant tenant;
  tenant.id = "acme";
  contract::Project project;
  project.id = "web";
  project.tenant = "acme";
  contract::Key key;
  key.id = "key_1";
  key.project = "web";
  KeyHasher hasher(kHashKeys);
  key.hash = to_hex(hasher.digest(0, kSecret));
  key.hash_key_id = "h1";
  contract::Pool pool;
  pool.id = "own";
  contract::Model model;
  model.id = "m";
  model.digest = "d1";
  model.context_tokens = 4096;
  contract::Price price;
  price.version = 3;
  price.rates[static_cast<size_t>(contract::Unit::kPromptToken)] = {2'000'000};
  price.rates[static_cast<size_t>(contract::Unit::kCachedPromptToken)] = {1'000'000};
  price.rates[static_cast<size_t>(contract::Unit::kOutputToken)] = {10'000'000};
  snapshot.tenants = {tenant};
  snapshot.projects = {project};
  snapshot.keys = {key};
  snapshot.pools = {pool};
  snapshot.models = {model};
  snapshot.prices = {price};
  for (size_t i = 0; i < upstreams.size(); ++i) {
    contract::Replica replica;
    replica.id = fmt::format("r{}", i);
    replica.pool = "own";
    replica.model = "m";
    replica.url = fmt::format("http://127.0.0.1:{}/v1", upstreams[i]);
    snapshot.replicas.push_back(replica);
  }
  return snapshot;
}

Edge::Edge(contract::Snapshot snapshot, EdgeLimits limits, net::ServerLimits server_limits,
           EdgeDoors doors) {
  limits_.apply(std::make_shared<contract::Snapshot>(snapshot));
  texts_.update(snapshot);
  table_ = RoutingTable::make(Directory::compile(std::move(snapshot), kHashKeyIds), nullptr, {});
  thread_.run([&] {
    gateway_ = std::make_unique<Gateway>(GatewayOptions{.loop = thread_.loop(),
                                                        .clock = clock_,
                                                        .log = log_,
                                                        .records = records_,
                                                        .request_ids = ids_,
                                                        .limits = limits_,
                                                        .estimates = estimates_,
                                                        .texts = texts_,
                                                        .metrics = metrics_,
                                                        .hash_keys = kHashKeys,
                                                        .secrets = {{"engine", "engine-secret"}},
                                                        .edge = limits,
                                                        .guest_key = doors.guest_key,
                                                        .default_model = doors.default_model,
                                                        .allowed_origin = doors.allowed_origin});
    gateway_->update(table_, Gateway::Limits::kHoldNoMore);
    net::ServerOptions options{.loop = thread_.loop()};
    options.limits = server_limits;
    options.handler = [&](const net::Request& request, net::Responder responder) {
      gateway_->handle(request, std::move(responder));
    };
    options.check_head = [&](const net::Request& head) { return gateway_->check_head(head); };
    options.refusal = [&](int status, std::string_view text) {
      return gateway_->refusal(status, text);
    };
    server_ = std::make_unique<net::HttpServer>(std::move(options));
    port_ = server_->listen("127.0.0.1", 0).value();
  });
}

Edge::~Edge() {
  thread_.run([&] {
    server_.reset();
    gateway_.reset();
  });
}

void Edge::update(contract::Snapshot snapshot) {
  snapshot.generation = table_->directory().generation() + 1;
  const LimitsChange change = limits_.apply(std::make_shared<contract::Snapshot>(snapshot));
  texts_.update(snapshot);
  table_ =
      RoutingTable::make(Directory::compile(std::move(snapshot), kHashKeyIds), table_.get(), {});
  using Limits = Gateway::Limits;
  thread_.run([&] {
    gateway_->update(table_, change.holds_more ? Limits::kHoldMore : Limits::kHoldNoMore);
  });
}

void Edge::take_secrets(std::map<std::string, std::string> secrets) {
  thread_.run([&] { gateway_->take_secrets(std::move(secrets)); });
}

void Edge::drain() {
  thread_.run([&] { gateway_->drain(); });
}

void Edge::end_all() {
  thread_.run([&] { gateway_->end_all(); });
}

net::Response Edge::post(std::string_view body, std::string_view path,
                         std::vector<net::Header> headers) {
  net::BlockingClient client({.host = "127.0.0.1", .port = port_});
  const std::string bearer = std::string("Bearer ") + kSecret;
  headers.push_back({"Authorization", bearer});
  return client
      .request({.method = net::Method::kPost, .target = path, .headers = headers, .body = body})
      .value();
}

net::Response Edge::get(std::string_view path) {
  net::BlockingClient client({.host = "127.0.0.1", .port = port_});
  const std::string bearer = std::string("Bearer ") + kSecret;
  const net::Header headers[] = {{"Authorization", bearer}};
  return client.request({.target = path, .headers = headers}).value();
}

std::string header_of(const net::Response& response, std::string_view name) {
  for (const net::OwnedHeader& header : response.headers)
    if (net::equal_ignoring_case(header.name, name)) return header.value;
  return {};
}

std::string post_text(std::string_view body, std::string_view more_headers) {
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{}"
      "Content-Length: {}\r\n\r\n{}",
      kSecret, more_headers, body.size(), body);
}

}  // namespace sluice::gateway
