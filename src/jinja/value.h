// The values that a template computes with: Python's, as far as chat templates see them. A value is
// 24 bytes and cheap to copy: strings, lists and dicts are shared and never change once made.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/assert.h"

namespace sluice::jinja {

class Object;  // macros, namespaces, loops, functions: they exist only while a template renders
class Value;
class Dict;
struct List;

struct Text {
  std::string bytes;  // UTF-8
  bool safe = false;  // came out of `safe` or `escape`: an addition escapes the other side
};

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBoolean,
  kInteger,
  kReal,
  kString,
  kList,  // also tuples, ranges and the views of a dict: see ListKind
  kDict,
  kObject,
};

class Value {
  struct Undefined {
    std::shared_ptr<const std::string> message;
  };
  struct None {};
  using Storage = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Object*>;

  explicit Value(Storage storage) : storage_(std::move(storage)) {}

  template <size_t kIndex>
  const auto& get() const {
    const auto* held = std::get_if<kIndex>(&storage_);
    ASSERT(held != nullptr, "a value of kind {} used as kind {}", storage_.index(), kIndex);
    return *held;
  }

 public:
  // Undefined without a message: what a variable holds before its first assignment.
  Value() = default;
  // The message is the error of whoever uses the value: "'messages' is undefined".
  static Value undefined(std::string message);
  static Value none() { return Value(Storage(std::in_place_index<1>)); }
  static Value boolean(bool value) { return Value(Storage(std::in_place_index<2>, value)); }
  static Value integer(int64_t value) { return Value(Storage(std::in_place_index<3>, value)); }
  static Value real(double value) { return Value(Storage(std::in_place_index<4>, value)); }
  static Value string(std::string bytes);
  static Value safe_string(std::string bytes);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value list(List list);
  static Value dict(Dict dict);
  static Value object(Object& object) { return Value(Storage(std::in_place_index<8>, &object)); }

  Kind kind() const { return static_cast<Kind>(storage_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_number() const { return is(Kind::kBoolean) || is(Kind::kInteger) || is(Kind::kReal); }

  // Undefined and without a message; see the default constructor.
  bool is_missing() const;
  std::string_view undefined_message() const;

  // Each needs a value of its kind.
  bool as_boolean() const { return get<2>(); }
  int64_t as_integer() const { return get<3>(); }
  double as_real() const { return get<4>(); }
  const std::string& as_string() const { return get<5>()->bytes; }
  bool is_safe_string() const { return is_string() && get<5>()->safe; }
  const List& as_list() const { return *get<6>(); }
  const Dict& as_dict() const { return *get<7>(); }
  Object& as_object() const { return *get<8>(); }

  // The very same string, list, dict or object (Python's `is`); equal for small values.
  bool same_as(const Value& other) const;

 private:
  Storage storage_;
};

enum class ListKind : uint8_t {
  kList,
  kTuple,
  kGroup,  // of groupby: a pair with the attributes `grouper` and `list`
  kRange,
  kDictKeys,
  kDictValues,
  kDictItems,
};

struct List {
  struct Range {
    int64_t start = 0, stop = 0, step = 1;
  };

  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  Range range{};  // of ListKind::kRange
  int depth = 1;  // of nested lists and dicts, this one included; set by Value::list
};

// Keeps the order of insertion; setting a key again keeps its place. Keys are strings, numbers,
// booleans, none, undefined or tuples of these (is_hashable), equal as in Python: 1, 1.0 and true
// are one key.
class Dict {
 public:
  struct Entry {
    Value key;
    Value value;
  };

  static bool is_hashable(const Value& key);

  void set(Value key, Value value);
  void set(std::string key, Value value) { set(Value::string(std::move(key)), std::move(value)); }
  // Null where there is none. A key that is not hashable is not found.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  int depth() const { return depth_; }

 private:
  // Of no meaning but that equal keys are one.
  struct KeyOrder {
    using is_transparent = void;
    bool operator()(const Value& left, const Value& right) const;
    bool operator()(const Value& left, std::string_view right) const;
    bool operator()(std::string_view left, const Value& right) const;
  };
  template <typename Key>
  const Value* find_any(const Key& key) const;

  std::vector<Entry> entries_;
  // In entries_; empty for small dicts. No hash table: those who write the keys would choose ones
  // that collide.
  std::map<Value, uint32_t, KeyOrder> positions_;
  int depth_ = 1;
};

// Of nested lists and dicts; 0 for everything else.
int nesting_depth(const Value& value);

// Python's name of the type: "str", "dict", "NoneType".
std::string_view type_name(const Value& value);

}  // namespace sluice::jinja
