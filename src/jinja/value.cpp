#include "jinja/value.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <random>

#include "jinja/objects.h"

namespace sluice::jinja {
namespace {

// Below this number of entries a scan is faster than a table.
constexpr size_t kIndexFrom = 9;

// Who writes the keys of a dict must not be able to choose those that collide: another seed in
// each process. Nothing that a template can see depends on it.
uint64_t hash_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  }();
  return seed;
}

uint64_t hash_bytes(std::string_view bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), hash_seed());
}

uint64_t hash_words(uint64_t first, uint64_t second) {
  const uint64_t words[] = {first, second};
  return XXH3_64bits_withSeed(words, sizeof(words), hash_seed());
}

// A number that is an integer of 64 bits: 1, 1.0 and true are one key.
std::optional<int64_t> integer_key(const Value& value) {
  if (value.is(Kind::kInteger)) return value.as_integer();
  if (value.is(Kind::kBoolean)) return value.as_boolean() ? 1 : 0;
  const double real = value.as_real();
  const bool fits = real >= -0x1p63 && real < 0x1p63 && std::trunc(real) == real;
  return fits ? std::optional(static_cast<int64_t>(real)) : std::nullopt;
}

uint64_t hash_number(const Value& value) {
  const std::optional<int64_t> integer = integer_key(value);
  return hash_words(
      integer ? static_cast<uint64_t>(*integer) : std::bit_cast<uint64_t>(value.as_real()),
      integer ? 0 : 1);
}

uint64_t hash_key(std::string_view key) {
  return hash_bytes(key);
}

bool is_flat_tuple(const Value& value) {
  if (!value.is(Kind::kList) || value.as_list().depth > 1) return false;
  return value.as_list().kind == ListKind::kTuple || value.as_list().kind == ListKind::kRange;
}

uint64_t hash_key(const Value& key) {
  if (key.is(Kind::kList)) {
    uint64_t hash = key.as_list().items.size();
    for (const Value& item : key.as_list().items) hash = hash_words(hash, hash_key(item));
    return hash;
  }
  if (key.is_string()) return hash_bytes(key.as_string());
  if (key.is_number()) return hash_number(key);
  return hash_words(static_cast<uint64_t>(key.kind()), 2);
}

bool same_key(const Value& left, std::string_view right) {
  return left.is_string() && left.as_string() == right;
}

bool same_key(const Value& left, const Value& right) {
  if (right.is_string()) return same_key(left, std::string_view(right.as_string()));
  if (left.is_number() && right.is_number()) {
    const std::optional<int64_t> integer = integer_key(left);
    if (integer || integer_key(right)) return integer == integer_key(right);
    return left.as_real() == right.as_real();
  }
  if (!left.is(Kind::kList) || !right.is(Kind::kList)) return left.same_as(right);
  const List& ours = left.as_list();
  const List& theirs = right.as_list();
  return ours.kind == theirs.kind &&
         std::ranges::equal(ours.items, theirs.items,
                            [](const Value& a, const Value& b) { return same_key(a, b); });
}

}  // namespace

Value Value::undefined(std::string message) {
  return Value(Storage(std::in_place_index<0>,
                       Undefined{std::make_shared<const std::string>(std::move(message))}));
}

Value Value::string(std::string bytes) {
  return Value(Storage(std::in_place_index<5>,
                       std::make_shared<const Text>(Text{.bytes = std::move(bytes)})));
}

Value Value::safe_string(std::string bytes) {
  return Value(Storage(std::in_place_index<5>, std::make_shared<const Text>(
                                                   Text{.bytes = std::move(bytes), .safe = true})));
}

Value Value::list(std::vector<Value> items) {
  return list(List{.items = std::move(items)});
}

Value Value::tuple(std::vector<Value> items) {
  return list(List{.items = std::move(items), .kind = ListKind::kTuple});
}

Value Value::list(List list) {
  int inner = 0;
  for (const Value& item : list.items) inner = std::max(inner, nesting_depth(item));
  list.depth = inner + 1;
  return Value(Storage(std::in_place_index<6>, std::make_shared<const List>(std::move(list))));
}

Value Value::dict(Dict dict) {
  return Value(Storage(std::in_place_index<7>, std::make_shared<const Dict>(std::move(dict))));
}

bool Value::is_missing() const {
  const Undefined* undefined = std::get_if<0>(&storage_);
  return undefined != nullptr && undefined->message == nullptr;
}

std::string_view Value::undefined_message() const {
  const Undefined& undefined = get<0>();
  if (undefined.message == nullptr) return "the value is undefined";
  return *undefined.message;
}

bool Value::same_as(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kBoolean:
      return as_boolean() == other.as_boolean();
    case Kind::kInteger:
      return as_integer() == other.as_integer();
    case Kind::kReal:
      return as_real() == other.as_real();
    case Kind::kString:
      return get<5>() == other.get<5>();
    case Kind::kList:
      return get<6>() == other.get<6>();
    case Kind::kDict:
      return get<7>() == other.get<7>();
    case Kind::kObject:
      return get<8>() == other.get<8>();
  }
  return false;
}

bool Dict::is_hashable(const Value& key) {
  return (!key.is(Kind::kList) && !key.is(Kind::kDict)) || is_flat_tuple(key);
}

void Dict::set(Value key, Value value) {
  depth_ = std::max(depth_, nesting_depth(value) + 1);
  if (const Value* found = find(key)) {
    *const_cast<Value*>(found) = std::move(value);  // ours: entries_ is not const here
    return;
  }
  entries_.push_back({std::move(key), std::move(value)});
  if (entries_.size() < kIndexFrom) return;
  if (entries_.size() * 2 > buckets_.size()) {
    index_all();
  } else {
    index_one(static_cast<uint32_t>(entries_.size() - 1));
  }
}

void Dict::index_all() {
  buckets_.assign(entries_.size() * 4, 0);
  for (uint32_t position = 0; position < entries_.size(); ++position) index_one(position);
}

void Dict::index_one(uint32_t position) {
  size_t bucket = hash_key(entries_[position].key) % buckets_.size();
  while (buckets_[bucket] != 0) bucket = (bucket + 1) % buckets_.size();
  buckets_[bucket] = position + 1;
}

template <typename Key>
const Value* Dict::find_any(const Key& key) const {
  if (buckets_.empty()) {
    for (const Entry& entry : entries_) {
      if (same_key(entry.key, key)) return &entry.value;
    }
    return nullptr;
  }
  size_t bucket = hash_key(key) % buckets_.size();
  for (; buckets_[bucket] != 0; bucket = (bucket + 1) % buckets_.size()) {
    const Entry& entry = entries_[buckets_[bucket] - 1];
    if (same_key(entry.key, key)) return &entry.value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find_any(std::string_view(key.as_string()));
  return is_hashable(key) ? find_any(key) : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  return find_any(key);
}

int nesting_depth(const Value& value) {
  if (value.is(Kind::kList)) return value.as_list().depth;
  if (value.is(Kind::kDict)) return value.as_dict().depth();
  return 0;
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBoolean:
      return "bool";
    case Kind::kInteger:
      return "int";
    case Kind::kReal:
      return "float";
    case Kind::kString:
      return value.is_safe_string() ? "Markup" : "str";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return value.as_object().type_name();
    case Kind::kList:
      break;
  }
  switch (value.as_list().kind) {
    case ListKind::kList:
      return "list";
    case ListKind::kTuple:
      return "tuple";
    case ListKind::kGroup:
      return "_GroupTuple";
    case ListKind::kRange:
      return "range";
    case ListKind::kDictKeys:
      return "dict_keys";
    case ListKind::kDictValues:
      return "dict_values";
    case ListKind::kDictItems:
      return "dict_items";
  }
  return "list";
}

}  // namespace sluice::jinja
