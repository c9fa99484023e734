// The gateway's data loop with everything on (auth, limits, route, journal), one replica: for
// bench/gateway/compare.sh and streams.sh.
//
//   edge_bench PORT UPSTREAM_URL JOURNAL_FOLDER     the API key is sk-test, the model "m"
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "contract/request_id.h"
#include "core/clock.h"
#include "gateway/edge/gateway.h"
#include "gateway/limits/limit_table.h"
#include "net/http_server.h"
#include "store/journal.h"

namespace sluice::gateway {
namespace {

const std::vector<HashKey> kHashKeys = {{"h1", std::string(32, 's')}};

contract::Snapshot snapshot_for(const std::string& upstream) {
  constexpr int64_t kPlenty = int64_t{1} << 40;
  contract::Snapshot snapshot;
  snapshot.generation = 1;
  snapshot.tenants = {{.id = "acme", .name = "Acme"}};
  snapshot.projects = {{.id = "web", .tenant = "acme"}};
  contract::Key key;
  key.id = "key_bench";
  key.project = "web";
  KeyHasher hasher(kHashKeys);
  key.hash = to_hex(hasher.digest(0, "sk-test"));
  key.hash_key_id = "h1";
  key.limits = {.requests_per_minute = kPlenty,
                .tokens_per_minute = kPlenty,
                .concurrent_streams = kPlenty,
                .tokens_per_day = kPlenty,
                .money_per_month = contract::NanoMoney{INT64_MAX / 4}};
  snapshot.keys = {key};
  snapshot.pools = {{.id = "own"}};
  contract::Replica replica;
  replica.id = "r1";
  replica.pool = "own";
  replica.model = "m";
  replica.url = upstream;
  replica.speed = {.prefill_tokens_per_s = 1e9,
                   .decode_tokens_per_s = 1e6,
                   .decode_tokens_per_s_max = 1e9,
                   .streams_max = 1 << 20};
  snapshot.replicas = {replica};
  contract::Model model;
  model.id = "m";
  model.context_tokens = 8192;
  snapshot.models = {model};
  contract::Price price;
  price.version = 1;
  price.rates = {contract::Rate{150'000'000}, contract::Rate{75'000'000},
                 contract::Rate{600'000'000}, contract::Rate{600'000'000}, contract::Rate{}};
  snapshot.prices = {price};
  return snapshot;
}

int run(uint16_t port, const std::string& upstream, const std::string& folder) {
  core::SystemClock clock;
  core::Logger log;
  auto journal =
      store::Journal::open({.folder = folder, .gateway_if_new = 0x5111ce}, &clock).value();
  contract::RequestIds ids(journal->gateway(), journal->start());
  const contract::Snapshot snapshot = snapshot_for(upstream);
  LimitTable limits(clock);
  limits.apply(snapshot);
  Estimates estimates;
  LoopMetrics metrics;
  net::EventLoop loop;
  Gateway gateway({.loop = loop,
                   .clock = clock,
                   .log = log,
                   .records = *journal,
                   .request_ids = ids,
                   .limits = limits,
                   .estimates = estimates,
                   .metrics = metrics,
                   .hash_keys = kHashKeys});
  const std::vector<std::string> hash_key_ids = {"h1"};
  gateway.update(RoutingTable::make(Directory::compile(snapshot, hash_key_ids), nullptr, {}));
  net::ServerLimits server_limits;
  server_limits.connections_max = 20'000;
  net::HttpServer server(
      {.loop = loop,
       .limits = server_limits,
       .handler = [&](const net::Request& request,
                      net::Responder responder) { gateway.handle(request, std::move(responder)); },
       .check_head = [&](const net::Request& head) { return gateway.check_head(head); },
       .refusal = [&](int status,
                      std::string_view text) { return gateway.refusal(status, text); }});
  const auto bound = server.listen("127.0.0.1", port);
  if (!bound.ok()) {
    fmt::print(stderr, "{}\n", bound.error().message);
    return 1;
  }
  fmt::print("listening on http://127.0.0.1:{}\n", bound.value());
  std::fflush(stdout);
  loop.handle_signals({SIGINT, SIGTERM}, [&](int) { loop.stop(); });
  loop.run();
  fmt::print("{} records\n", journal->last_sequence());
  return 0;
}

}  // namespace
}  // namespace sluice::gateway

int main(int count, char** arguments) {
  if (count != 4) {
    fmt::print(stderr, "edge_bench PORT UPSTREAM_URL JOURNAL_FOLDER\n");
    return 2;
  }
  return sluice::gateway::run(static_cast<uint16_t>(std::atoi(arguments[1])), arguments[2],
                              arguments[3]);
}
