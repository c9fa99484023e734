// No tenant sees another's prefix cache, by timing or by cached_tokens: what an engine hears of
// whose prompt it is.

#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

// Of key_1 (acme, as edge_snapshot() has it), another key of acme, and one of another tenant.
contract::Snapshot snapshot_of_three(uint16_t port) {
  contract::Snapshot snapshot = edge_snapshot({port});
  snapshot.tenants.push_back(snapshot.tenants[0]);
  snapshot.tenants[1].id = "other";
  snapshot.projects.push_back(snapshot.projects[0]);
  snapshot.projects[1].id = "other-web";
  snapshot.projects[1].tenant = "other";
  KeyHasher hasher({{"h1", std::string(32, 's')}});
  for (const auto& [id, project] : {std::pair("key_2", "web"), {"key_3", "other-web"}}) {
    contract::Key key = snapshot.keys[0];
    key.id = id;
    key.project = project;
    key.hash = to_hex(hasher.digest(0, std::string("sk-") + id));
    snapshot.keys.push_back(key);
  }
  return snapshot;
}

class EdgeTenants : public testing::Test {
 public:
  using Salt = std::function<std::string(const std::string& secret, const std::string& own)>;

 protected:
  // What the upstream is told of the cache with a request of this key that names `own` itself; ""
  // nothing.
  std::string salt_of(Edge& edge, const std::string& secret, const std::string& own = "") {
    net::RawClient client(edge.port());
    std::string body(kBody);
    if (!own.empty()) body.insert(1, fmt::format(R"("cache_salt":"{}",)", own));
    std::string text = post_text(body);
    text.replace(text.find(kSecret), sizeof(kSecret) - 1, secret);
    client.send(text);
    EXPECT_TRUE(client.read_until("\r\n").starts_with("HTTP/1.1 200"));
    constexpr std::string_view kMember = "\"cache_salt\":\"";
    // Of what a Sluice engine is told, the object "sluice" holds, which stands first.
    const size_t at = body_.find(kMember);
    if (at == std::string::npos) return "";
    const size_t begin = at + kMember.size();
    return body_.substr(begin, body_.find('"', begin) - begin);
  }

  // Of the last request, which has been answered when they are read.
  std::string body_;
  std::string authorization_;
  net::ServerThread upstream_{[this](const net::Request& request, net::Responder responder) {
    body_ = request.body;
    authorization_ = request.header("authorization").value_or("");
    responder.send(200, {}, kAnswer);
  }};
};

TEST_F(EdgeTenants, EachHasItsOwnCacheAtAnEngine) {
  contract::Snapshot snapshot = snapshot_of_three(upstream_.port());
  snapshot.replicas[0].kind = contract::ReplicaKind::kSluice;
  snapshot.replicas[0].secret = "engine";
  Edge edge(std::move(snapshot));
  const std::string of_acme = salt_of(edge, kSecret);
  EXPECT_NE(of_acme, "");
  EXPECT_EQ(salt_of(edge, "sk-key_2"), of_acme) << "keys of one tenant share";
  const std::string of_other = salt_of(edge, "sk-key_3");
  EXPECT_NE(of_other, "");
  EXPECT_NE(of_other, of_acme);
}

// A client parts its own requests by salts, and meets nobody else's, whatever it names.
void expect_own_salts_stay_apart(EdgeTenants::Salt salt_of) {
  const std::string of_acme = salt_of(kSecret, "");
  const std::string of_other = salt_of("sk-key_3", "");
  const std::string user = salt_of(kSecret, "user 1");
  EXPECT_EQ(salt_of("sk-key_2", "user 1"), user) << "keys of one tenant share";
  const std::string others[] = {"",
                                of_acme,
                                of_other,
                                "user 1",
                                of_acme + "user 1",
                                salt_of(kSecret, "user 2"),
                                salt_of("sk-key_3", "user 1")};
  for (const std::string& other : others) EXPECT_NE(user, other);
  for (const std::string& theirs : {of_acme, user}) {
    EXPECT_NE(salt_of("sk-key_3", theirs), of_acme);
    EXPECT_NE(salt_of("sk-key_3", theirs), user);
  }
}

TEST_F(EdgeTenants, AClientsOwnSaltIsOneOfItsTenantsAtAnEngine) {
  contract::Snapshot snapshot = snapshot_of_three(upstream_.port());
  snapshot.replicas[0].kind = contract::ReplicaKind::kSluice;
  snapshot.replicas[0].secret = "engine";
  Edge edge(std::move(snapshot));
  expect_own_salts_stay_apart([&](const std::string& secret, const std::string& own) {
    return salt_of(edge, secret, own);
  });
}

TEST_F(EdgeTenants, AReplicaThatKnowsASaltIsSentOne) {
  contract::Snapshot snapshot = snapshot_of_three(upstream_.port());
  snapshot.replicas[0].cache_salt = true;
  Edge edge(std::move(snapshot));
  EXPECT_NE(salt_of(edge, kSecret), "");
  EXPECT_EQ(body_.find("\"sluice\""), std::string::npos);
  EXPECT_EQ(salt_of(edge, "sk-key_2"), salt_of(edge, kSecret));
  EXPECT_NE(salt_of(edge, "sk-key_3"), salt_of(edge, kSecret));
  expect_own_salts_stay_apart([&](const std::string& secret, const std::string& own) {
    return salt_of(edge, secret, own);
  });
}

TEST_F(EdgeTenants, OneThatDoesNotIsSentNone) {
  Edge edge(snapshot_of_three(upstream_.port()));
  EXPECT_EQ(salt_of(edge, kSecret), "");
  EXPECT_EQ(salt_of(edge, kSecret, "user 1"), "user 1") << "as the client says";
}

// An administrator gives a replica another secret while the gateway runs.
TEST_F(EdgeTenants, AChangedSecretOfAReplicaIsSent) {
  contract::Snapshot snapshot = snapshot_of_three(upstream_.port());
  Edge edge(snapshot);
  EXPECT_EQ(salt_of(edge, kSecret), "");
  EXPECT_EQ(authorization_, "");
  snapshot.replicas[0].secret = "engine";
  edge.update(snapshot);
  EXPECT_EQ(salt_of(edge, kSecret), "");
  EXPECT_EQ(authorization_, "Bearer engine-secret");
  snapshot.replicas[0].kind = contract::ReplicaKind::kSluice;
  edge.update(snapshot);
  EXPECT_NE(salt_of(edge, kSecret), "") << "an engine is told";
}

}  // namespace
}  // namespace sluice::gateway
