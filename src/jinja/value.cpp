#include "jinja/value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <compare>
#include <optional>

#include "jinja/objects.h"

namespace sluice::jinja {
namespace {

// Below this number of entries a scan is faster than a tree.
constexpr size_t kIndexFrom = 9;

// A number that is an integer of 64 bits: 1, 1.0 and true are one key.
std::optional<int64_t> integer_key(const Value& value) {
  if (value.is(Kind::kInteger)) return value.as_integer();
  if (value.is(Kind::kBoolean)) return value.as_boolean() ? 1 : 0;
  if (!value.is(Kind::kReal)) return std::nullopt;
  const double real = value.as_real();
  const bool fits = real >= -0x1p63 && real < 0x1p63 && std::trunc(real) == real;
  return fits ? std::optional(static_cast<int64_t>(real)) : std::nullopt;
}

bool is_flat_tuple(const Value& value) {
  if (!value.is(Kind::kList) || value.as_list().depth > 1) return false;
  return value.as_list().kind == ListKind::kTuple || value.as_list().kind == ListKind::kRange;
}

using Order = std::strong_ordering;

Order compare_texts(std::string_view left, std::string_view right) {
  if (left.size() != right.size()) return left.size() <=> right.size();
  return left.compare(right) <=> 0;
}

// As of a Value that is a string.
Order compare_keys(const Value& left, std::string_view right) {
  if (left.is_string()) return compare_texts(left.as_string(), right);
  return integer_key(left) ? Order::greater : left.kind() <=> Kind::kString;
}

// Integers come last, the others by kind.
Order compare_keys(const Value& left, const Value& right) {
  const std::optional<int64_t> integer = integer_key(left);
  if (integer || integer_key(right)) return integer <=> integer_key(right);
  if (left.kind() != right.kind()) return left.kind() <=> right.kind();
  switch (left.kind()) {
    case Kind::kString:
      return compare_texts(left.as_string(), right.as_string());
    case Kind::kReal:  // by its bits
      return std::bit_cast<uint64_t>(left.as_real()) <=> std::bit_cast<uint64_t>(right.as_real());
    case Kind::kObject:
      return std::compare_three_way()(&left.as_object(), &right.as_object());
    case Kind::kList:
      break;
    default:
      return Order::equal;
  }
  const List& ours = left.as_list();
  const List& theirs = right.as_list();
  if (ours.kind != theirs.kind) return ours.kind <=> theirs.kind;
  if (ours.items.size() != theirs.items.size()) return ours.items.size() <=> theirs.items.size();
  for (size_t i = 0; i < ours.items.size(); ++i) {
    const Order order = compare_keys(ours.items[i], theirs.items[i]);
    if (order != Order::equal) return order;
  }
  return Order::equal;
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
  for (size_t i = positions_.size(); i < entries_.size(); ++i) {
    positions_.emplace(entries_[i].key, static_cast<uint32_t>(i));
  }
}

bool Dict::KeyOrder::operator()(const Value& left, const Value& right) const {
  return compare_keys(left, right) < 0;
}
bool Dict::KeyOrder::operator()(const Value& left, std::string_view right) const {
  return compare_keys(left, right) < 0;
}
bool Dict::KeyOrder::operator()(std::string_view left, const Value& right) const {
  return compare_keys(right, left) > 0;
}

template <typename Key>
const Value* Dict::find_any(const Key& key) const {
  if (positions_.empty()) {
    for (const Entry& entry : entries_) {
      if (compare_keys(entry.key, key) == Order::equal) return &entry.value;
    }
    return nullptr;
  }
  const auto found = positions_.find(key);
  return found == positions_.end() ? nullptr : &entries_[found->second].value;
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
