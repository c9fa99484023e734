// Writes compact JSON in the order of the calls. Commas are the writer's business.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::api {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  // Bytes that are no UTF-8 become U+FFFD, so that the output is always valid JSON.
  JsonWriter& string(std::string_view text);
  JsonWriter& integer(int64_t value);
  JsonWriter& number(double value);  // shortest form that reads back equal; not finite: null
  JsonWriter& boolean(bool value);
  JsonWriter& null();

  std::string take() { return std::move(out_); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();

  std::string out_;
  bool comma_ = false;  // the next value or key follows another at the same level
};

// `text` between quotes, escaped as JSON wants it.
void append_json_string(std::string* out, std::string_view text);

}  // namespace sluice::api
