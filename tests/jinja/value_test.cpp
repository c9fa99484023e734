#include "jinja/value.h"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::jinja {
namespace {

TEST(Dict, KeepsTheOrderAndThePlaceOfAKeySetAgain) {
  Dict dict;
  for (const char* key : {"b", "a", "c"}) dict.set(key, Value::integer(1));
  dict.set("a", Value::integer(2));
  ASSERT_EQ(dict.size(), 3);
  EXPECT_EQ(dict.entries()[1].key.as_string(), "a");
  EXPECT_EQ(dict.find("a")->as_integer(), 2);
  EXPECT_EQ(dict.find("zz"), nullptr);
}

// Small dicts are scanned, larger ones have a tree.
TEST(Dict, FindsEachOfManyKeys) {
  for (const int64_t size : {1, 8, 9, 10, 1000}) {
    Dict dict;
    for (int64_t i = 0; i < size; ++i) dict.set(std::to_string(i), Value::integer(i));
    for (int64_t i = 0; i < size; i += 2) dict.set(std::to_string(i), Value::integer(-i));
    ASSERT_EQ(dict.size(), size);
    for (int64_t i = 0; i < size; ++i) {
      const Value* found = dict.find(std::to_string(i));
      ASSERT_NE(found, nullptr) << i;
      EXPECT_EQ(found->as_integer(), i % 2 == 0 ? -i : i);
    }
    EXPECT_EQ(dict.find(std::to_string(size)), nullptr);
  }
}

TEST(Dict, EqualNumbersAreOneKey) {
  Dict dict;
  dict.set(Value::integer(1), Value::string("int"));
  dict.set(Value::real(1.0), Value::string("float"));
  dict.set(Value::boolean(true), Value::string("bool"));
  dict.set(Value::string("1"), Value::string("text"));
  EXPECT_EQ(dict.size(), 2);
  EXPECT_EQ(dict.find(Value::integer(1))->as_string(), "bool");

  for (int64_t i = 2; i < 30; ++i) dict.set(Value::integer(i), Value::integer(i));
  dict.set(Value::real(7), Value::string("seven"));
  EXPECT_EQ(dict.find(Value::integer(7))->as_string(), "seven");
  EXPECT_EQ(dict.find(Value::real(1))->as_string(), "bool");
}

TEST(Dict, FindsKeysOfEveryKindAmongOthers) {
  Dict dict;
  std::vector<Value> keys = {Value::none(), Value::undefined("a"), Value::boolean(false)};
  for (int64_t i = 1; i < 30; ++i) {
    const std::string text = std::to_string(i);
    keys.insert(keys.end(),
                {Value::integer(i), Value::string(text), Value::real(static_cast<double>(i) + 0.5),
                 Value::tuple({Value::integer(i), Value::string(text)})});
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    dict.set(keys[i], Value::integer(static_cast<int64_t>(i)));
    for (size_t earlier = 0; earlier < keys.size(); ++earlier) {
      const Value* found = dict.find(keys[earlier]);
      ASSERT_EQ(found != nullptr, earlier <= i) << earlier << " of " << i;
      if (found != nullptr) {
        ASSERT_EQ(found->as_integer(), static_cast<int64_t>(earlier));
      }
    }
  }
}

TEST(Dict, NumbersAreComparedExactly) {
  constexpr int64_t kBig = (int64_t{1} << 53) + 1;  // no double
  for (const int64_t others : {0, 20}) {
    Dict dict;
    for (int64_t i = 0; i < others; ++i) dict.set(Value::integer(i), Value::none());
    dict.set(Value::integer(kBig), Value::none());
    dict.set(Value::real(0.5), Value::none());
    EXPECT_NE(dict.find(Value::integer(kBig)), nullptr);
    EXPECT_NE(dict.find(Value::real(0.5)), nullptr);
    EXPECT_EQ(dict.find(Value::real(static_cast<double>(kBig - 1))), nullptr);
    EXPECT_EQ(dict.find(Value::real(-0.0)) != nullptr, others > 0);
    EXPECT_EQ(dict.find(Value::real(1e300)), nullptr);
  }
}

// Keys that fall close together in a table of std::hash, whose seed everybody knows.
TEST(Dict, ChosenKeysAreNoSlowerThanOthers) {
  constexpr size_t kKeys = 20'000;
  constexpr size_t kBuckets = 40'956;  // of a table of so many
  const auto seconds_for = [](auto is_chosen) {
    std::vector<std::string> keys;
    for (int64_t i = 0; keys.size() < kKeys; ++i) {
      std::string key = std::to_string(i);
      if (is_chosen(std::hash<std::string>{}(key))) keys.push_back(std::move(key));
    }
    const auto start = std::chrono::steady_clock::now();
    Dict dict;
    for (const std::string& key : keys) dict.set(key, Value::none());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double usual = seconds_for([](size_t) { return true; });
  const double chosen = seconds_for([](size_t hash) { return hash % kBuckets < kBuckets / 200; });
  EXPECT_LT(chosen, 10 * usual + 0.05);
}

TEST(Dict, TuplesOfPlainValuesAreKeysListsAreNot) {
  EXPECT_TRUE(Dict::is_hashable(Value::tuple({Value::integer(1), Value::string("a")})));
  EXPECT_FALSE(Dict::is_hashable(Value::list(std::vector<Value>())));
  EXPECT_FALSE(Dict::is_hashable(Value::dict(Dict())));
  Dict dict;
  dict.set(Value::tuple({Value::integer(1)}), Value::none());
  EXPECT_NE(dict.find(Value::tuple({Value::real(1)})), nullptr);
  EXPECT_EQ(dict.find(Value::tuple({Value::real(2)})), nullptr);
}

TEST(Value, KnowsHowDeepItIs) {
  const Value flat = Value::list(std::vector<Value>{Value::integer(1)});
  Dict dict;
  dict.set("a", flat);
  EXPECT_EQ(nesting_depth(Value::integer(1)), 0);
  EXPECT_EQ(nesting_depth(flat), 1);
  EXPECT_EQ(nesting_depth(Value::tuple({Value::none(), flat})), 2);
  EXPECT_EQ(nesting_depth(Value::dict(std::move(dict))), 2);
}

TEST(Value, IsSmall) {
  EXPECT_LE(sizeof(Value), 24U);
}

}  // namespace
}  // namespace sluice::jinja
