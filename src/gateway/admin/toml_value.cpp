#include "gateway/admin/toml_value.h"

#include <chrono>

#include <toml++/toml.h>

namespace sluice::gateway {
namespace {

using contract::Member;
using contract::Value;

int64_t unix_seconds(const toml::date_time& time) {
  using namespace std::chrono;
  const sys_days day =
      year_month_day{year{time.date.year}, month{time.date.month}, std::chrono::day{time.date.day}};
  return duration_cast<seconds>(day.time_since_epoch()).count() + time.time.hour * 3600 +
         time.time.minute * 60 + time.time.second - time.offset->minutes * 60;
}

class Converter {
 public:
  Value convert(const toml::node& node) {
    Value value = content_of(node);
    value.line = static_cast<int32_t>(node.source().begin.line);
    return value;
  }

  std::string fault;
  int32_t fault_line = 0;

 private:
  Value content_of(const toml::node& node) {
    if (const auto* table = node.as_table()) return convert_table(*table);
    if (const auto* array = node.as_array()) {
      Value::Array items;
      for (const toml::node& item : *array) items.push_back(convert(item));
      return Value{std::move(items)};
    }
    if (const auto text = node.value_exact<std::string>()) return Value{*text};
    if (const auto flag = node.value_exact<bool>()) return Value{*flag};
    if (const auto integer = node.value_exact<int64_t>()) return Value{*integer};
    if (const auto number = node.value_exact<double>()) return Value{*number};
    if (const auto time = node.value_exact<toml::date_time>(); time && time->offset)
      return Value{unix_seconds(*time)};
    if (fault.empty()) {
      fault = "a date or time needs both, and its offset: 2027-01-31T00:00:00Z";
      fault_line = static_cast<int32_t>(node.source().begin.line);
    }
    return Value{};
  }

  Value convert_table(const toml::table& table) {
    Value::Object members;
    for (const auto& [name, item] : table)
      members.push_back(Member{std::string(name.str()), convert(item)});
    return Value{std::move(members)};
  }
};

}  // namespace

TomlText parse_toml(std::string_view text) {
  TomlText result;
  try {
    const toml::table root = toml::parse(text);
    Converter converter;
    result.value = converter.convert(root);
    result.fault = std::move(converter.fault);
    result.fault_line = converter.fault_line;
  } catch (const toml::parse_error& error) {
    result.fault = std::string(error.description());
    result.fault_line = static_cast<int32_t>(error.source().begin.line);
  }
  return result;
}

}  // namespace sluice::gateway
