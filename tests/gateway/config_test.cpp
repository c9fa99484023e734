#include "gateway/admin/config.h"

#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "contract/snapshot_json.h"

namespace sluice::gateway {
namespace {

using testing::HasSubstr;

std::string example() {
  std::ifstream file("deploy/gateway.toml");
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Config, TheDocumentedExampleIsGood) {
  const ParsedConfig parsed = parse_config(example());
  ASSERT_EQ(to_text("gateway.toml", parsed.problems), "");
  const GatewayConfig& config = parsed.config;
  EXPECT_EQ(config.listen[0].port, 8080);
  EXPECT_EQ(config.admin.port, 8081);
  EXPECT_EQ(config.secrets.at("web_key").place, "WEB_API_KEY");
  EXPECT_EQ(config.hash_keys[0].id, "h2026");
  const contract::Snapshot& snapshot = config.snapshot;
  EXPECT_EQ(snapshot.tenants[0].limits.money_per_month, contract::NanoMoney{500'000'000'000});
  EXPECT_EQ(snapshot.keys[0].expires_unix_s, 1'830'211'200) << "2027-12-31T00:00:00Z";
  EXPECT_EQ(snapshot.keys[0].defaults.target->ttft.limit_ns, 800'000'000);
  EXPECT_EQ(snapshot.pools[0].capacity, contract::PoolCapacity{});
  EXPECT_EQ(snapshot.pools[1].round_trip_ns, 35'000'000);
  EXPECT_EQ(snapshot.pools[1].capacity.streams_max, 100);
  EXPECT_EQ(snapshot.pools[1].capacity.tokens_per_minute, 500'000);
  EXPECT_EQ(snapshot.prices[0].rates[1].nano_per_million, 20'000'000);
  EXPECT_EQ(snapshot.prices[0].rates[3], snapshot.prices[0].rates[2]);
}

// It says so itself.
TEST(Config, TheDocumentedExampleHasEveryEntry) {
  const std::string text = example();
  const auto expect_named = [&](std::string_view json) {
    const nlohmann::json object = nlohmann::json::parse(json);
    for (const auto& [name, value] : object.items())
      EXPECT_TRUE(text.find(name + " = ") != std::string::npos ||
                  text.find("." + name + "]") != std::string::npos)
          << name;
  };
  contract::Limits all;
  all.requests_per_minute = all.input_tokens_per_minute = all.output_tokens_per_minute = 1;
  all.tokens_per_minute = all.concurrent_streams = all.tokens_per_day = all.tokens_per_month = 1;
  all.money_per_day = all.money_per_month = contract::NanoMoney{1};
  const std::string tenant = contract::to_json(contract::Tenant{.limits = all});
  expect_named(tenant);
  expect_named(nlohmann::json::parse(tenant)["limits"].dump());
  expect_named(contract::to_json(contract::Project{}));
  expect_named(contract::to_json(contract::Key{}));
  expect_named(contract::to_json(contract::Pool{}));
  expect_named(contract::to_json(contract::Replica{}));
  expect_named(contract::to_json(contract::Model{}));
  expect_named(contract::to_json(contract::Price{}));
}

TEST(Config, KeysGetTheHashesOfTheirSecrets) {
  const ParsedConfig parsed = parse_config(example());
  KeyHasher hasher({{"h2026", std::string(32, 'h')}});
  const contract::Snapshot snapshot =
      snapshot_of(parsed.config, {{"web_key", "my-own-secret-1234"}}, hasher);
  EXPECT_EQ(snapshot.keys[0].hash, to_hex(hasher.digest(0, "my-own-secret-1234")));
  EXPECT_EQ(snapshot.keys[0].hash_key_id, "h2026");
  EXPECT_EQ(snapshot.keys[0].hint, "1234");
  EXPECT_TRUE(contract::validate(snapshot).empty());
}

TEST(Config, EveryProblemHasItsLine) {
  const ParsedConfig parsed = parse_config(R"([gateway]
data_folder = "d"
threads = 0
listen = ["8080"]
colour = 1
[tls]
certificate_file = "x"
[secrets]
a = { file = "f", environment = "E" }
[[keys]]
id = "key_1"
project = "nowhere"
secret = "b"
[[pools]]
id = "p"
place = "remote"
data_classes = ["private"]
[[replicas]]
id = "r"
pool = "p"
model = "m"
url = "http://a"
secret = "c"
[[prices]]
version = 1
valid_from_unix_s = 2027-01-01T00:00:00Z
compute_per_second = "-1"
[surprise]
)");
  EXPECT_EQ(
      to_text("f.toml", parsed.problems),
      "f.toml:3: gateway.threads: must be an integer from 1 to 256\n"
      "f.toml:4: gateway.listen[0]: must be an address like \"127.0.0.1:8080\" or "
      "\"[::]:8080\"\n"
      "f.toml:5: gateway.colour: unknown; known are listen, threads, spin_us, "
      "response_timeout_s, request_timeout_s, data_folder, store, access_log_file\n"
      "f.toml:6: tls: needs certificate_file and private_key_file\n"
      "f.toml:9: secrets.a: must say where the secret is: { file = \"PATH\" } or { environment = "
      "\"NAME\" }, one of the two\n"
      "f.toml:12: keys[0].project: there is no project 'nowhere'\n"
      "f.toml:13: keys[0].secret: must be a name of [secrets]\n"
      "f.toml:17: pools[0].data_classes: private data never leaves local pools, this one is "
      "remote\n"
      "f.toml:21: replicas[0].model: there is no model 'm'\n"
      "f.toml:23: replicas[0].secret: there is no secret 'c' in [secrets]\n"
      "f.toml:27: prices[0].compute_per_second: -1 is negative\n"
      "f.toml:28: surprise: unknown; known are gateway, tls, admin, telemetry, secrets, "
      "hash_keys, tenants, projects, keys, pools, replicas, models, prices\n");
}

TEST(Config, SyntaxAndDatesAreNamedWithTheirLine) {
  const auto first = [](std::string_view text) {
    const auto problems = parse_config(text).problems;
    return problems.empty() ? std::string() : to_text("f", {problems[0]});
  };
  EXPECT_THAT(first("[gateway]\ndata_folder = \n"), HasSubstr("f:2: "));
  EXPECT_THAT(first("[gateway]\ndata_folder = \"d\"\ndata_folder = \"e\"\n"), HasSubstr("f:3: "));
  EXPECT_THAT(first("[gateway]\ndata_folder = \"d\"\n[[prices]]\nvalid_from_unix_s = 2027-01-01\n"),
              HasSubstr("f:4: a date or time needs"));
  EXPECT_THAT(first(""), HasSubstr("gateway.data_folder: must name a folder"));
  EXPECT_EQ(first("[gateway]\ndata_folder = \"d\"\n"), "");
  const std::string gateway = "[gateway]\ndata_folder = \"d\"\n";
  for (const char* store : {"sqlite:", "mysql://a/b", "store.db"})
    EXPECT_EQ(first(fmt::format("{}store = \"{}\"\n", gateway, store)),
              "f:3: gateway.store: must be sqlite:PATH or postgresql://user@host/database\n");
  EXPECT_EQ(first(gateway + "store = \"sqlite:a.db\"\n"), "");
  const auto plain = parse_config(gateway + "[secrets]\na = \"plain\"\n").problems;
  EXPECT_EQ(plain.size(), 1u) << to_text("f", plain);
}

}  // namespace
}  // namespace sluice::gateway
