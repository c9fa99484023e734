// No tenant sees another's prefix cache, by timing or by cached_tokens: what an engine hears of
// whose prompt it is.

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
 protected:
  // What the upstream is told of the cache with a request of this key; "" nothing.
  std::string salt_of(Edge& edge, const std::string& secret) {
    net::RawClient client(edge.port());
    std::string text = post_text(kBody);
    text.replace(text.find(kSecret), sizeof(kSecret) - 1, secret);
    client.send(text);
    EXPECT_TRUE(client.read_until("\r\n").starts_with("HTTP/1.1 200"));
    constexpr std::string_view kMember = "\"cache_salt\":\"";
    const size_t at = body_.find(kMember);
    if (at == std::string::npos) return "";
    const size_t begin = at + kMember.size();
    return body_.substr(begin, body_.find('"', begin) - begin);
  }

  std::string body_;  // of the last request, which has been answered when it is read
  net::ServerThread upstream_{[this](const net::Request& request, net::Responder responder) {
    body_ = request.body;
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

}  // namespace
}  // namespace sluice::gateway
