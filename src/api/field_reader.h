// Typed access to the fields of a request object. A field that is absent or null reads as nullopt;
// one of the wrong type or outside its range is an Error that names it, what was found and what is
// allowed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"

namespace sluice::api {

struct IntegerRange {
  int64_t least = 0;
  int64_t most = 0;
};
struct NumberRange {
  double least = 0;
  double most = 0;
  bool least_excluded = false;
};
struct ListLimits {
  int64_t items_max = 0;
  int64_t item_bytes_max = 0;  // of a string
};

class FieldReader {
 public:
  // `path` is put before the names in errors, e.g. "messages[2]." The object outlives the reader.
  explicit FieldReader(const Json& object, std::string path = "");

  const Json* find(std::string_view key) const;  // null also for JSON's null
  std::string path_of(std::string_view key) const { return path_ + std::string(key); }

  Parsed<std::optional<bool>> boolean(std::string_view key) const;
  // 16.0 is an integer, 16.5 and "16" are not.
  Parsed<std::optional<int64_t>> integer(std::string_view key, IntegerRange range) const;
  Parsed<std::optional<double>> number(std::string_view key, NumberRange range) const;
  Parsed<std::optional<std::string>> string(std::string_view key) const;
  // One string or a list of strings, none of them empty; a null list reads as empty.
  Parsed<std::vector<std::string>> strings(std::string_view key, ListLimits limits) const;
  Parsed<std::vector<int32_t>> token_ids(std::string_view key, ListLimits limits) const;

  Error wrong_type(std::string_view key, std::string_view expected, const Json& found) const;

 private:
  const Json& object_;
  std::string path_;
};

// A number in its range; `path` names it.
Parsed<double> to_number(const Json& json, const std::string& path, NumberRange range);

// Elements of a JSON array as token ids (0 … 2^31-1); `path` names the array.
Parsed<std::vector<int32_t>> to_token_ids(const Json::Array& array, std::string_view path);

// A field that is known and not supported: an Error unless it is absent, null, or has a value that
// asks for nothing.
struct UnsupportedField {
  std::string_view key;
  bool (*asks_for_nothing)(const Json& value);
  std::string_view what;  // completes "… not supported"
};
Parsed<std::monostate> refuse_unsupported(const FieldReader& fields,
                                          std::span<const UnsupportedField> table);

// Predicates for such tables.
bool is_empty_list_or_object(const Json& value);
bool is_false(const Json& value);
bool is_zero(const Json& value);
bool is_one(const Json& value);
bool is_minus_one(const Json& value);
bool is_not_positive(const Json& value);
bool is_none_text(const Json& value);      // "none"
bool is_text_format(const Json& value);    // {"type":"text"}
bool is_text_modality(const Json& value);  // ["text"]
bool never(const Json& value);

}  // namespace sluice::api
