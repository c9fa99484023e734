#include "formats/metadata.h"

#include <cstring>
#include <limits>
#include <optional>

namespace sluice::formats {
namespace {

struct TypeRow {
  ValueType type;
  std::string_view name;
  int32_t bytes;  // 0: no fixed size
};

constexpr TypeRow kTypes[] = {
    {ValueType::kU8, "u8", 1},         {ValueType::kI8, "i8", 1},
    {ValueType::kU16, "u16", 2},       {ValueType::kI16, "i16", 2},
    {ValueType::kU32, "u32", 4},       {ValueType::kI32, "i32", 4},
    {ValueType::kF32, "f32", 4},       {ValueType::kBool, "bool", 1},
    {ValueType::kString, "string", 0}, {ValueType::kArray, "array", 0},
    {ValueType::kU64, "u64", 8},       {ValueType::kI64, "i64", 8},
    {ValueType::kF64, "f64", 8},
};

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// The number at `at`, where it is an integer that an int64_t can hold.
std::optional<int64_t> integer_at(ValueType type, const std::byte* at) {
  switch (type) {
    case ValueType::kU8:
      return load<uint8_t>(at);
    case ValueType::kI8:
      return load<int8_t>(at);
    case ValueType::kU16:
      return load<uint16_t>(at);
    case ValueType::kI16:
      return load<int16_t>(at);
    case ValueType::kU32:
      return load<uint32_t>(at);
    case ValueType::kI32:
      return load<int32_t>(at);
    case ValueType::kI64:
      return load<int64_t>(at);
    case ValueType::kU64: {
      const auto value = load<uint64_t>(at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> number_at(ValueType type, const std::byte* at) {
  if (type == ValueType::kF32) return static_cast<double>(load<float>(at));
  if (type == ValueType::kF64) return load<double>(at);
  if (const auto integer = integer_at(type, at)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::string describe(const MetadataValue& value) {
  if (value.is_array) return fmt::format("an array of {} {}", value.count, name_of(value.type));
  return std::string(name_of(value.type));
}

core::Error wrong_type(std::string_view key, const MetadataValue& value,
                       std::string_view expected) {
  return core::invalid("metadata '{}': is {}, expected {}", key, describe(value), expected);
}

}  // namespace

std::string_view name_of(ValueType type) {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return row.name;
  return "unknown";
}

int32_t fixed_bytes(ValueType type) {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return row.bytes;
  return 0;
}

bool Metadata::insert(std::string_view key, MetadataValue value) {
  return values_.emplace(key, value).second;
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

core::Result<const MetadataValue*> Metadata::scalar(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return core::invalid("metadata '{}' is missing", key);
  if (value->is_array) return wrong_type(key, *value, "one value");
  return value;
}

core::Result<const MetadataValue*> Metadata::array(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return core::invalid("metadata '{}' is missing", key);
  if (!value->is_array) return wrong_type(key, *value, "an array");
  return value;
}

core::Result<int64_t> Metadata::integer(std::string_view key) const {
  const MetadataValue* value = TRY(scalar(key));
  if (const auto found = integer_at(value->type, value->payload.data())) return *found;
  return wrong_type(key, *value, "an integer of at most 63 bits");
}

core::Result<double> Metadata::number(std::string_view key) const {
  const MetadataValue* value = TRY(scalar(key));
  if (const auto found = number_at(value->type, value->payload.data())) return *found;
  return wrong_type(key, *value, "a number");
}

core::Result<bool> Metadata::flag(std::string_view key) const {
  const MetadataValue* value = TRY(scalar(key));
  if (value->type != ValueType::kBool) return wrong_type(key, *value, "a bool");
  const auto byte = load<uint8_t>(value->payload.data());
  if (byte > 1) return core::invalid("metadata '{}': bool is {}, expected 0 or 1", key, byte);
  return byte == 1;
}

core::Result<std::string_view> Metadata::text(std::string_view key) const {
  const MetadataValue* value = TRY(scalar(key));
  if (value->type != ValueType::kString) return wrong_type(key, *value, "a string");
  return std::string_view(reinterpret_cast<const char*>(value->payload.data()),
                          value->payload.size());
}

core::Result<int64_t> Metadata::integer_or(std::string_view key, int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}
core::Result<double> Metadata::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}
core::Result<bool> Metadata::flag_or(std::string_view key, bool fallback) const {
  return has(key) ? flag(key) : fallback;
}
core::Result<std::string_view> Metadata::text_or(std::string_view key,
                                                 std::string_view fallback) const {
  return has(key) ? text(key) : fallback;
}

core::Result<std::vector<std::string_view>> Metadata::strings(std::string_view key) const {
  const MetadataValue* value = TRY(array(key));
  if (value->type != ValueType::kString) return wrong_type(key, *value, "an array of strings");
  std::vector<std::string_view> found;
  found.reserve(static_cast<size_t>(value->count));
  const std::byte* at = value->payload.data();
  for (int64_t i = 0; i < value->count; ++i) {
    const auto length = load<uint64_t>(at);
    found.emplace_back(reinterpret_cast<const char*>(at + sizeof length), length);
    at += sizeof length + length;
  }
  return found;
}

core::Result<std::vector<float>> Metadata::floats(std::string_view key) const {
  const MetadataValue* value = TRY(array(key));
  std::vector<float> found;
  found.reserve(static_cast<size_t>(value->count));
  const int32_t step = fixed_bytes(value->type);
  for (int64_t i = 0; i < value->count; ++i) {
    const auto number = number_at(value->type, value->payload.data() + i * step);
    if (!number) return wrong_type(key, *value, "an array of numbers");
    found.push_back(static_cast<float>(*number));
  }
  return found;
}

core::Result<std::vector<int64_t>> Metadata::integers(std::string_view key) const {
  const MetadataValue* value = TRY(array(key));
  std::vector<int64_t> found;
  found.reserve(static_cast<size_t>(value->count));
  const int32_t step = fixed_bytes(value->type);
  for (int64_t i = 0; i < value->count; ++i) {
    const auto integer = integer_at(value->type, value->payload.data() + i * step);
    if (!integer) return wrong_type(key, *value, "an array of integers");
    found.push_back(*integer);
  }
  return found;
}

}  // namespace sluice::formats
