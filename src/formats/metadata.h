// The typed key-value part of a GGUF file: views into the file, decoded on request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::formats {

// The numbers are those of the GGUF specification.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
std::string_view name_of(ValueType type);
// Bytes of one value; 0 for strings and arrays.
int32_t fixed_bytes(ValueType type);

// One value as it lies in the file, already checked to be complete.
struct MetadataValue {
  ValueType type = ValueType::kU8;  // of the value, or of an array's elements
  bool is_array = false;
  int64_t count = 1;  // elements of an array, 1 otherwise
  // The bytes of a number or of a string's text; an array's elements, where each string has its
  // length (u64) before it.
  std::span<const std::byte> payload{};
};

// Every getter names the key, what was found and what was expected. Integers of any width and sign
// convert where the value fits; a float is never taken for an integer.
class Metadata {
 public:
  // False where the key is already there.
  [[nodiscard]] bool insert(std::string_view key, MetadataValue value);

  const MetadataValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const std::map<std::string, MetadataValue, std::less<>>& values() const { return values_; }

  core::Result<int64_t> integer(std::string_view key) const;
  core::Result<double> number(std::string_view key) const;  // floats and integers
  core::Result<bool> flag(std::string_view key) const;
  core::Result<std::string_view> text(std::string_view key) const;

  // The same, with a fallback where the key is absent (a value of the wrong type is an Error).
  core::Result<int64_t> integer_or(std::string_view key, int64_t fallback) const;
  core::Result<double> number_or(std::string_view key, double fallback) const;
  core::Result<bool> flag_or(std::string_view key, bool fallback) const;
  core::Result<std::string_view> text_or(std::string_view key, std::string_view fallback) const;

  // Arrays. Strings are views into the file; finding them is one walk over the length fields.
  core::Result<std::vector<std::string_view>> strings(std::string_view key) const;
  core::Result<std::vector<float>> floats(std::string_view key) const;
  core::Result<std::vector<int64_t>> integers(std::string_view key) const;

 private:
  core::Result<const MetadataValue*> array(std::string_view key) const;
  core::Result<const MetadataValue*> scalar(std::string_view key) const;
  std::map<std::string, MetadataValue, std::less<>> values_;
};

}  // namespace sluice::formats
