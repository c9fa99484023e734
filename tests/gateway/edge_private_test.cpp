// Private data and local-only requests never reach a remote, through the whole edge: whatever keys,
// models and bodies say, whichever replicas fail, with retries, fallbacks, resumed streams, waiting
// and directories that change in between.
#include <atomic>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

constexpr int kRequests = 600;
constexpr int kClients = 4;
constexpr char kMarker[] = "for-our-eyes";

// Answers, refuses, cuts or breaks off, as chance has it; keeps what it was sent.
class FickleUpstream {
 public:
  explicit FickleUpstream(uint64_t seed) : rng_(seed) {}
  uint16_t port() const { return server_.port(); }
  std::vector<std::string> bodies() {
    return server_.run([&] { return bodies_; });
  }

 private:
  void answer(const net::Request& request, net::Responder responder) {
    bodies_.emplace_back(request.body);
    const int64_t fate = rng_.below(10);
    if (fate == 0) return responder.abort();
    if (fate < 3) return responder.send(fate == 1 ? 500 : 429, {}, "{}");
    if (request.body.find("\"stream\":true") == std::string_view::npos)
      return responder.send(200, {}, kAnswer);
    const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
    responder.start_stream(200, headers);
    for (int i = 0; i < 3; ++i)
      responder.write(
          fmt::format("data: {{\"id\":\"c\",\"created\":1,\"choices\":[{{\"index\":0,"
                      "\"delta\":{{\"content\":\"x\"}},\"token_ids\":[{}]}}]}}\n\n",
                      i));
    if (fate < 6) return responder.abort();
    responder.write(
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: [DONE]\n\n");
    responder.finish();
  }

  core::Rng rng_;
  std::vector<std::string> bodies_;  // of the server's thread
  net::ServerThread server_{[this](const net::Request& request, net::Responder responder) {
    answer(request, std::move(responder));
  }};
};

struct KeyCase {
  const char* secret;
  bool guarded = false;
  std::optional<contract::Policy> policy = std::nullopt;
  std::optional<contract::DataClass> data_class = std::nullopt;
};
const KeyCase kKeys[] = {
    {.secret = "sk-plain"},
    {.secret = "sk-private", .guarded = true, .data_class = contract::DataClass::kPrivate},
    {.secret = "sk-local", .guarded = true, .policy = contract::Policy::kLocalOnly},
    {.secret = "sk-fast", .policy = contract::Policy::kFastest},
    {.secret = "sk-cheap-private",
     .guarded = true,
     .policy = contract::Policy::kCheapest,
     .data_class = contract::DataClass::kPrivate},
    {.secret = "sk-public", .data_class = contract::DataClass::kPublic},
};
// "guarded" has private data by its own default, where the key says nothing.
constexpr const char* kModels[] = {"m", "guarded", "far"};

// Replicas of every model at two local and two remote upstreams, but "far" only at the remotes;
// "m" and "guarded" fall back on it.
contract::Snapshot places(const std::vector<uint16_t>& ports, core::Rng* rng) {
  contract::Snapshot snapshot = edge_snapshot({});
  KeyHasher hasher({{"h1", std::string(32, 's')}});
  const contract::Key plain = snapshot.keys[0];
  snapshot.keys.clear();
  for (const KeyCase& row : kKeys) {
    contract::Key key = plain;
    key.id = row.secret;
    key.hash = to_hex(hasher.digest(0, row.secret));
    key.defaults.policy = row.policy;
    key.defaults.data_class = row.data_class;
    snapshot.keys.push_back(key);
  }
  contract::Pool far;
  far.id = "rented";
  far.place = contract::Place::kRemote;
  far.owner = "provider";
  far.data_classes = {contract::DataClass::kPublic, contract::DataClass::kInternal};
  snapshot.pools.push_back(far);
  const contract::Model model = snapshot.models[0];
  snapshot.models.clear();
  for (const char* name : kModels) {
    contract::Model one = model;
    one.id = name;
    if (name != std::string_view("far")) one.fallbacks = {"far"};
    if (name == std::string_view("guarded"))
      one.defaults.data_class = contract::DataClass::kPrivate;
    snapshot.models.push_back(one);
    for (size_t i = 0; i < ports.size(); ++i) {
      const bool remote = i >= 2;
      // Sometimes a model has no local replica left, and sometimes hardly a place.
      if (!remote && (name == std::string_view("far") || rng->below(4) == 0)) continue;
      contract::Replica replica;
      replica.id = fmt::format("{}-{}", name, i);
      replica.pool = remote ? "rented" : "own";
      replica.model = name;
      replica.kind =
          rng->below(2) == 0 ? contract::ReplicaKind::kSluice : contract::ReplicaKind::kOpenAi;
      replica.secret = "engine";
      replica.url = fmt::format("http://127.0.0.1:{}/v1", ports[i]);
      replica.speed.streams_max = 1 + rng->below(4);
      snapshot.replicas.push_back(replica);
    }
  }
  return snapshot;
}

// A request of a random caller, with the marker in it where no remote may see it.
std::pair<std::string, std::string> random_request(core::Rng* rng) {
  const KeyCase& key = kKeys[rng->below(std::size(kKeys))];
  const char* model = kModels[rng->below(std::size(kModels))];
  bool guarded = key.guarded || (model == std::string_view("guarded") && !key.data_class);
  std::string wishes = R"("deadline_ms":60)";
  switch (rng->below(6)) {
    case 0:
      wishes += R"(,"data_class":"private")";
      guarded = true;
      break;
    case 1:
      wishes += R"(,"policy":"local_only")";
      guarded = true;
      break;
    case 2:  // less care than the key's: it has no effect
      wishes += R"(,"data_class":"public","policy":"fastest")";
      break;
    case 3:
      wishes += R"(,"policy":"cheapest","target":{"ttft_ms":1})";
      break;
    case 4:
      wishes += R"(,"target":{"total_ms":1},"session":"s")";
      break;
    default:
      break;
  }
  const std::string body =
      fmt::format(R"({{"model":"{}","messages":[{{"role":"user","content":"{}"}}],"max_tokens":4,)"
                  R"("stream":{},"sluice":{{{}}}}})",
                  model, guarded ? kMarker : "for-everybody", rng->below(2) == 0, wishes);
  return {key.secret, body};
}

TEST(EdgePrivate, NothingGuardedReachesARemote) {
  const auto seed = static_cast<uint64_t>(core::SystemClock().unix_ns());
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng rng(seed);
  FickleUpstream near[] = {FickleUpstream(seed + 1), FickleUpstream(seed + 2)};
  FickleUpstream far[] = {FickleUpstream(seed + 3), FickleUpstream(seed + 4)};
  const std::vector<uint16_t> ports = {near[0].port(), near[1].port(), far[0].port(),
                                       far[1].port()};
  Edge edge(places(ports, &rng));
  std::atomic<int> left = kRequests;
  std::vector<std::thread> clients;
  for (uint64_t i = 0; i < kClients; ++i)
    clients.emplace_back([&, own = core::Rng(seed + 10 + i)]() mutable {
      net::BlockingClient client({.host = "127.0.0.1", .port = edge.port()});
      while (left.fetch_sub(1) > 0) {
        const auto [secret, body] = random_request(&own);
        const std::string bearer = "Bearer " + secret;
        const net::Header headers[] = {{"Authorization", bearer}};
        const auto answer = client.request({.method = net::Method::kPost,
                                            .target = "/v1/chat/completions",
                                            .headers = headers,
                                            .body = body});
        EXPECT_TRUE(answer.ok());
      }
    });
  for (int changes = 0; left > 0; ++changes) {
    edge.update(places(ports, &rng));
    while (left > 0 && left > kRequests - changes * kRequests / 20) std::this_thread::yield();
  }
  for (std::thread& client : clients) client.join();
  size_t far_seen = 0;
  size_t near_seen = 0;
  for (FickleUpstream& upstream : far)
    for (const std::string& body : upstream.bodies()) {
      ++far_seen;
      EXPECT_EQ(body.find(kMarker), std::string::npos) << body;
    }
  for (FickleUpstream& upstream : near)
    for (const std::string& body : upstream.bodies())
      near_seen += body.find(kMarker) != std::string::npos ? 1 : 0;
  EXPECT_GT(far_seen, kRequests / 10);  // the remotes were at work
  EXPECT_GT(near_seen, kRequests / 10);
}

}  // namespace
}  // namespace sluice::gateway
