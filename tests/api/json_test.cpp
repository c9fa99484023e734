#include "api/json.h"

#include <gtest/gtest.h>

#include "api/json_writer.h"
#include "api/utf8.h"
#include "core/rng.h"

namespace sluice::api {
namespace {

std::string round_trip(std::string_view text) {
  const Parsed<Json> json = parse_json(text);
  if (!json.ok()) return json.error().message;
  std::string out;
  append_json(&out, json.value());
  return out;
}

TEST(Json, ReadsWhatItWrites) {
  for (const std::string_view text :
       {R"({"a":[1,2.5,-3,true,false,null,"x"],"b":{"c":[]},"d":{}})", R"("\u0001\"\\\n")",
        "9223372036854775807", "[]", R"([[],[[]],{}])"})
    EXPECT_EQ(round_trip(text), text);
}

TEST(Json, RefusesAndSaysWhy) {
  const struct {
    std::string text;
    std::string why;
  } rows[] = {
      {"", "is empty"},
      {"{", "not valid JSON"},
      {"{} {}", "not valid JSON"},
      {"{\"a\":NaN}", "not valid JSON"},
      {"{\"a\":1e999}", "number"},
      {"{\"a\":1,\"a\":2}", "'a' occurs twice"},
      {"[{\"x\":{\"k\":1,\"b\":2,\"k\":1}}]", "'k' occurs twice"},
      {"\"\xff\"", "not valid UTF-8"},
      {"\"\xed\xa0\x80\"", "not valid UTF-8"},
      {std::string(65, '[') + std::string(65, ']'), "deeper than 64"},
      {std::string(100'000, '['), "not valid JSON|deeper"},
      {"{'a':1}", "not valid JSON"},
      {"\"\\ud800\"", "not valid JSON"},
      {"[1,]", "not valid JSON"},
      {"01", "number|not valid JSON"},
  };
  for (const auto& row : rows) {
    const Parsed<Json> json = parse_json(row.text);
    ASSERT_FALSE(json.ok()) << row.text.substr(0, 40);
    EXPECT_EQ(json.error().status, 400);
    const size_t bar = row.why.find('|');
    const std::string& message = json.error().message;
    EXPECT_TRUE(
        message.find(row.why.substr(0, bar)) != std::string::npos ||
        (bar != std::string::npos && message.find(row.why.substr(bar + 1)) != std::string::npos))
        << row.text.substr(0, 40) << ": " << message;
  }
  EXPECT_TRUE(parse_json(std::string(63, '[') + std::string(63, ']')).ok());
}

TEST(Json, IntegersStayExactAndHugeOnesBecomeNumbers) {
  EXPECT_EQ(*parse_json("-9223372036854775808")->as<int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json("18446744073709551615")->as<int64_t>(), nullptr);
  EXPECT_NE(parse_json("18446744073709551615")->as<double>(), nullptr);
}

TEST(Json, HasALimitOfValues) {
  const auto array = [](int64_t items, std::string_view item) {
    std::string text = "[";
    for (int64_t i = 0; i < items; ++i) {
      if (i > 0) text += ',';
      text += item;
    }
    return text + "]";
  };
  // The array itself is a value too.
  EXPECT_TRUE(parse_json(array(kJsonValuesMax - 1, "1")).ok());
  EXPECT_TRUE(parse_json(array((kJsonValuesMax - 1) / 3, "[[],{}]")).ok());
  EXPECT_TRUE(parse_json(array(2, "\"" + std::string(3 * kJsonValuesMax, ',') + "\\\",[\"")).ok());
  for (const std::string& text : {array(kJsonValuesMax, "1"), array(4 * kJsonValuesMax, "1"),
                                  array(kJsonValuesMax / 3 + 1, "[[],{}]")}) {
    const Parsed<Json> json = parse_json(text);
    ASSERT_FALSE(json.ok());
    EXPECT_EQ(json.error().status, 400);
    EXPECT_EQ(json.error().message, "the body has more than 1048576 JSON values");
  }
}

// Whatever bytes a model makes, the line that carries them is valid JSON and loses no valid
// character.
TEST(JsonWriter, AnyBytesBecomeValidJson) {
  constexpr uint64_t kSeed = 20261122;
  core::Rng rng(kSeed);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(static_cast<size_t>(rng.below(24)), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.below(3) == 0 ? rng.below(128) : rng.bits());
    std::string line;
    append_json_string(&line, bytes);
    const Parsed<Json> json = parse_json(line);
    ASSERT_TRUE(json.ok()) << "seed " << kSeed << " round " << round << ": " << line;
    if (is_utf8(bytes)) {
      EXPECT_EQ(*json.value().as<std::string>(), bytes) << "round " << round;
    }
  }
}

TEST(Utf8, FindsCharacters) {
  EXPECT_EQ(utf8_character_bytes("a"), 1);
  EXPECT_EQ(utf8_character_bytes("ä"), 2);
  EXPECT_EQ(utf8_character_bytes("水"), 3);
  EXPECT_EQ(utf8_character_bytes("🙂"), 4);
  for (const std::string_view broken :
       {"", "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x99"})
    EXPECT_EQ(utf8_character_bytes(broken), 0);
}

}  // namespace
}  // namespace sluice::api
