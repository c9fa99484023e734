#include "contract/snapshot_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/contract/random_snapshot.h"

namespace sluice::contract {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SnapshotJson, EveryRandomSnapshotComesBack) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const Snapshot snapshot = RandomSnapshot(seed).make();
    const std::string text = to_json(snapshot);
    const auto back = parse_snapshot(text);
    ASSERT_TRUE(back.ok()) << back.error().message << "\n" << text;
    EXPECT_EQ(*back, snapshot);
    EXPECT_EQ(to_json(*back), text) << "one value, one text";
  }
}

TEST(SnapshotJson, TimesAndMoneyAreReadable) {
  Pool pool{.id = "far", .place = Place::kRemote, .data_classes = {DataClass::kPublic}};
  pool.round_trip_ns = 30'500'000;
  EXPECT_EQ(to_json(pool), R"({"id":"far","place":"remote","owner":"","data_classes":["public"],)"
                           R"("round_trip_ms":30.5,"capacity":{}})");
  pool.capacity = {.streams_max = 48, .tokens_per_minute = 100'000};
  EXPECT_THAT(to_json(pool),
              HasSubstr(R"("capacity":{"streams_max":48,"tokens_per_minute":100000})"));
  Price price{.version = 2, .model = "m"};
  price.rates[0].nano_per_million = 150'000'000;
  EXPECT_THAT(to_json(price), HasSubstr(R"("input_per_million":"0.15")"));
}

Problems problems_of(std::string_view text) {
  const auto document = parse_json_value(text);
  Problems problems;
  Snapshot snapshot;
  read_into(document.value(), "", &snapshot, &problems);
  return problems;
}

TEST(SnapshotJson, ListsEveryProblemWithItsPath) {
  const Problems problems = problems_of(R"({
    "tenants": [{"id": "a", "limits": {"tokens_per_dya": 5, "burst_ms": "x"}}, 7],
    "pools": [{"id": "p", "place": "here", "round_trip_ms": 1e12}],
    "prices": [{"version": 1, "input_per_million": 0.15}],
    "models": [{"id": "m", "defaults": {"priority": 3000000000}}]})");
  std::vector<std::string> paths;
  for (const Problem& problem : problems) paths.push_back(problem.path);
  EXPECT_THAT(paths, ElementsAre("tenants[0].limits.burst_ms", "tenants[0].limits.tokens_per_dya",
                                 "tenants[1]", "pools[0].place", "pools[0].round_trip_ms",
                                 "models[0].defaults.priority", "prices[0].input_per_million"));
  EXPECT_EQ(problems[3].message, "'here' is none of local, remote");
  EXPECT_EQ(problems[6].message,
            "found a number, must be a string like \"0.15\", at most 9 places");
}

TEST(SnapshotJson, ReadingIntoAnObjectChangesOnlyWhatIsNamed) {
  Key key{.id = "key_1", .project = "p", .hash_key_id = "h"};
  key.limits.tokens_per_day = 5;
  key.limits.burst_ms = 1000;
  key.defaults.priority = 3;
  key.models = {"a", "b"};
  Problems problems;
  read_into(parse_json_value(R"({"limits":{"tokens_per_day":null,"tokens_per_minute":9},
                                 "models":["c"],"defaults":{"policy":"cheapest"}})")
                .value(),
            "", &key, &problems);
  EXPECT_TRUE(problems.empty()) << to_text(problems);
  EXPECT_EQ(key.limits.tokens_per_day, std::nullopt);
  EXPECT_EQ(key.limits.tokens_per_minute, 9);
  EXPECT_EQ(key.limits.burst_ms, 1000);
  EXPECT_EQ(key.models, std::vector<std::string>{"c"});
  EXPECT_EQ(key.defaults.priority, 3);
  EXPECT_EQ(key.defaults.policy, Policy::kCheapest);
  EXPECT_EQ(key.project, "p");
}

TEST(SnapshotJson, UnnamedRatesFollowThoseTheyArePartOf) {
  Price price;
  Problems problems;
  read_into(
      parse_json_value(R"({"version":1,"input_per_million":"1","output_per_million":"4"})").value(),
      "", &price, &problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(price.rates[static_cast<size_t>(Unit::kCachedPromptToken)],
            price.rates[static_cast<size_t>(Unit::kPromptToken)]);
  EXPECT_EQ(price.rates[static_cast<size_t>(Unit::kReasoningToken)].nano_per_million,
            4'000'000'000);
  EXPECT_EQ(price.rates[static_cast<size_t>(Unit::kComputeMicrosecond)].nano_per_million, 0);
}

TEST(SnapshotJson, RefusesBrokenTexts) {
  for (const char* text : {"", "{", "[]", "{\"a\":1,\"a\":2}", "\"\xff\"", "{\"tenants\":{}}"})
    EXPECT_FALSE(parse_snapshot(text).ok()) << text;
  EXPECT_TRUE(parse_snapshot("{}").ok());
}

TEST(Money, TextIsExact) {
  EXPECT_EQ(money_from_text("0.15"), NanoMoney{150'000'000});
  EXPECT_EQ(money_from_text("-3"), NanoMoney{-3'000'000'000});
  EXPECT_EQ(money_from_text("9223372036.854775807"), NanoMoney{INT64_MAX});
  EXPECT_EQ(money_from_text("-9223372036.854775808"), NanoMoney{INT64_MIN});
  for (const char* text : {"", "-", ".5", "5.", "1e3", "+1", "0.1234567891", "9223372036.854775808",
                           "-9223372036.854775809", "99999999999999999999", "1 ", "0x1", "1,5"})
    EXPECT_EQ(money_from_text(text), std::nullopt) << text;
  core::Rng random(1);
  for (int i = 0; i < 1000; ++i) {
    const NanoMoney money{static_cast<int64_t>(random.bits())};
    EXPECT_EQ(money_from_text(to_text(money)), money);
  }
}

TEST(Value, KnowsTheLineOfAPath) {
  Value inner{int64_t{1}, 7};
  Value row{Value::Object{{"x", inner}}, 5};
  Value list{Value::Array{Value{Value::Object{}, 3}, row}, 2};
  const Value root{Value::Object{{"keys", list}}, 1};
  EXPECT_EQ(line_of(root, "keys[1].x"), 7);
  EXPECT_EQ(line_of(root, "keys[1].missing.deeper"), 5);
  EXPECT_EQ(line_of(root, "keys[9]"), 2);
  EXPECT_EQ(line_of(root, ""), 1);
}

}  // namespace
}  // namespace sluice::contract
