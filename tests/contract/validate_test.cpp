#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/network.h"
#include "contract/snapshot_json.h"
#include "tests/contract/random_snapshot.h"

namespace sluice::contract {
namespace {

using testing::Contains;
using testing::Field;

Snapshot small() {
  Snapshot s;
  s.tenants = {{.id = "acme"}};
  s.projects = {{.id = "web", .tenant = "acme", .limits = {}}};
  s.keys = {{.id = "key_1", .project = "web", .hash = std::string(64, 'a'), .hash_key_id = "h1"}};
  s.pools = {{.id = "here"}, {.id = "there", .place = Place::kRemote}};
  s.pools[1].data_classes = {DataClass::kPublic};
  s.models = {{.id = "m"}, {.id = "n"}};
  s.replicas = {{.id = "r", .pool = "here", .model = "m"}};
  s.replicas[0].url = "http://127.0.0.1:8080";
  s.prices = {{.version = 1}, {.version = 2}};
  s.prices[1].valid_from_unix_s = 5;
  return s;
}

struct Fault {
  std::string path;
  std::function<void(Snapshot*)> make;
};

TEST(Validate, NamesEveryKindOfFault) {
  ASSERT_EQ(to_text(validate(small())), "");
  const std::vector<Fault> faults = {
      {"generation", [](Snapshot* s) { s->generation = -1; }},
      {"tenants[0].id", [](Snapshot* s) { s->tenants[0].id = "Acme"; }},
      {"tenants[1].id", [](Snapshot* s) { s->tenants.push_back({.id = "acme"}); }},
      {"tenants[0].limits.tokens_per_day",
       [](Snapshot* s) { s->tenants[0].limits.tokens_per_day = -1; }},
      {"tenants[0].limits.money_per_day",
       [](Snapshot* s) { s->tenants[0].limits.money_per_day = NanoMoney{-1}; }},
      {"keys[0].share", [](Snapshot* s) { s->keys[0].share = 0; }},
      {"keys[0].share", [](Snapshot* s) { s->keys[0].share = 1001; }},
      {"tenants[0].limits.burst_ms", [](Snapshot* s) { s->tenants[0].limits.burst_ms = 0; }},
      {"projects[0].tenant", [](Snapshot* s) { s->projects[0].tenant = "nobody"; }},
      {"keys[0].project", [](Snapshot* s) { s->keys[0].project = "nothing"; }},
      {"keys[0].hash", [](Snapshot* s) { s->keys[0].hash = "secret"; }},
      {"keys[1].hash", [](Snapshot* s) { s->keys.push_back(s->keys[0]), s->keys[1].id = "key_2"; }},
      {"keys[0].hash_key_id", [](Snapshot* s) { s->keys[0].hash_key_id = ""; }},
      {"keys[0].models[0]", [](Snapshot* s) { s->keys[0].models = {"x"}; }},
      {"keys[0].networks[1]",
       [](Snapshot* s) {
         s->keys[0].networks = {"10.0.0.0/8", "10.0.0.1/8"};
       }},
      {"keys[0].defaults.target.ttft_ms",
       [](Snapshot* s) {
         s->keys[0].defaults.target.emplace();
         s->keys[0].defaults.target->ttft.limit_ns = -1;
       }},
      {"pools[1].data_classes",
       [](Snapshot* s) { s->pools[1].data_classes = {DataClass::kPrivate}; }},
      {"pools[0].data_classes", [](Snapshot* s) { s->pools[0].data_classes = {}; }},
      {"pools[0].round_trip_ms", [](Snapshot* s) { s->pools[0].round_trip_ns = -1; }},
      {"pools[0].capacity.streams_max", [](Snapshot* s) { s->pools[0].capacity.streams_max = 0; }},
      {"pools[1].capacity.tokens_per_minute",
       [](Snapshot* s) { s->pools[1].capacity.tokens_per_minute = -1; }},
      {"replicas[0].pool", [](Snapshot* s) { s->replicas[0].pool = "x"; }},
      {"replicas[0].model", [](Snapshot* s) { s->replicas[0].model = "x"; }},
      {"replicas[0].speed.prefill_tokens_per_s",
       [](Snapshot* s) { s->replicas[0].speed.prefill_tokens_per_s = 0; }},
      {"replicas[0].certificate_file",
       [](Snapshot* s) { s->replicas[0].certificate_file = "ca.pem"; }},
      {"models[0].fallbacks[0]", [](Snapshot* s) { s->models[0].fallbacks = {"x"}; }},
      {"models[1].fallbacks[0]",
       [](Snapshot* s) { s->models[0].fallbacks = {"n"}, s->models[1].fallbacks = {"m"}; }},
      {"models[0].fallbacks[0]", [](Snapshot* s) { s->models[0].fallbacks = {"m"}; }},
      {"models[0].max_tokens_default",
       [](Snapshot* s) { s->models[0].context_tokens = 5, s->models[0].max_tokens_default = 6; }},
      {"prices[1].version", [](Snapshot* s) { s->prices[1].version = 1; }},
      {"prices[1].valid_from_unix_s", [](Snapshot* s) { s->prices[1].valid_from_unix_s = 0; }},
      {"prices[0].pool", [](Snapshot* s) { s->prices[0].pool = "x"; }},
      {"prices[0].output_per_million",
       [](Snapshot* s) { s->prices[0].rates[2].nano_per_million = -1; }},
      {"prices[0].compute_per_second",
       [](Snapshot* s) { s->prices[0].rates[4].nano_per_million = 10'000'000'000'001; }},
      {"prices[0].input_per_million",
       [](Snapshot* s) { s->prices[0].rates[0].nano_per_million = 1'000'000'000'000'001; }},
  };
  for (const Fault& fault : faults) {
    Snapshot snapshot = small();
    fault.make(&snapshot);
    const Problems problems = validate(snapshot);
    EXPECT_THAT(problems, Contains(Field(&Problem::path, fault.path))) << to_text(problems);
  }
}

TEST(Validate, Urls) {
  const auto good = [](std::string url) {
    Snapshot snapshot = small();
    snapshot.replicas[0].url = std::move(url);
    return validate(snapshot).empty();
  };
  for (const char* url : {"http://a", "https://api.example.com/v1", "http://[::1]:80/x/y",
                          "http://10.1.2.3:65535", "http://engine_1:8080/"})
    EXPECT_TRUE(good(url)) << url;
  for (const char* url :
       {"", "ftp://a", "http://", "http:///v1", "http://a:0", "http://a:65536",
        "http://a:", "http://a:8x", "http://u:p@a", "http://a/?q", "http://a/#f", "http://a b",
        "http://[::1", "http://[zz]", "http://a/\x01", "http://[::1]x"})
    EXPECT_FALSE(good(url)) << url;
}

TEST(Validate, ACycleIsFoundOnceAndADiamondIsNone) {
  Snapshot snapshot = small();
  snapshot.models = {{.id = "a"}, {.id = "b"}, {.id = "c"}, {.id = "m"}};
  snapshot.models[0].fallbacks = {"b", "c"};
  snapshot.models[1].fallbacks = {"m"};
  snapshot.models[2].fallbacks = {"m"};
  EXPECT_EQ(to_text(validate(snapshot)), "");
  snapshot.models[3].fallbacks = {"a"};
  EXPECT_EQ(validate(snapshot).size(), 1u);
}

TEST(Network, ContainsAddressesOfBothFamilies) {
  const auto inside = [](std::string_view network, std::string_view address) {
    return parse_network(network)->contains(*parse_ip_address(address));
  };
  EXPECT_TRUE(inside("10.0.0.0/8", "10.255.0.1"));
  EXPECT_FALSE(inside("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(inside("10.0.0.0/8", "::ffff:10.1.1.1")) << "the same address, as dual stack says it";
  EXPECT_TRUE(inside("0.0.0.0/0", "1.2.3.4"));
  EXPECT_FALSE(inside("0.0.0.0/0", "::1"));
  EXPECT_TRUE(inside("::/0", "1.2.3.4"));
  EXPECT_TRUE(inside("2001:db8::/33", "2001:db8:7fff::1"));
  EXPECT_FALSE(inside("2001:db8::/33", "2001:db8:8000::1"));
  EXPECT_TRUE(inside("127.0.0.1", "127.0.0.1"));
  EXPECT_FALSE(inside("127.0.0.1", "127.0.0.2"));
  for (const char* text : {"", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0.0/", "10.0.0.0/-1",
                           "10.0.0.0/8x", "a/8", "10.0.0/8", "::1/0128"})
    EXPECT_FALSE(parse_network(text)) << text;
}

}  // namespace
}  // namespace sluice::contract
