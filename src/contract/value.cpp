#include "contract/value.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

namespace sluice::contract {
namespace {

constexpr size_t kDepthMax = 64;
constexpr size_t kProblemsListed = 50;

const std::string* name_twice(const Value::Object& object) {
  std::vector<const std::string*> names;
  names.reserve(object.size());
  for (const Member& member : object) names.push_back(&member.name);
  std::sort(names.begin(), names.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(names.begin(), names.end(), [](auto* a, auto* b) { return *a == *b; });
  return twice == names.end() ? nullptr : *twice;
}

core::Result<Value> convert(simdjson::dom::element element);

core::Result<Value> convert_array(simdjson::dom::array items) {
  Value::Array array;
  for (const auto item : items) {
    Value value = TRY(convert(item));
    array.push_back(std::move(value));
  }
  return Value{std::move(array)};
}

core::Result<Value> convert_object(simdjson::dom::object members) {
  Value::Object object;
  for (const auto& [name, item] : members) {
    Value value = TRY(convert(item));
    object.push_back({std::string(name), std::move(value)});
  }
  if (const std::string* name = name_twice(object))
    return core::invalid("the name '{}' occurs twice in one object", *name);
  return Value{std::move(object)};
}

core::Result<Value> convert(simdjson::dom::element element) {
  using simdjson::dom::element_type;
  switch (element.type()) {
    case element_type::NULL_VALUE:
      return Value{};
    case element_type::BOOL:
      return Value{bool{element}};
    case element_type::INT64:
      return Value{int64_t{element}};
    case element_type::UINT64:
      return Value{static_cast<double>(uint64_t{element})};
    case element_type::DOUBLE:
      return Value{double{element}};
    case element_type::STRING:
      return Value{std::string(std::string_view{element})};
    case element_type::ARRAY:
      return convert_array(simdjson::dom::array(element));
    case element_type::OBJECT:
      return convert_object(simdjson::dom::object(element));
  }
  return core::invalid("a value of an unknown type");
}

// The value that the first step of `path` leads to, and what is left of the path.
const Value* step(const Value& from, std::string_view* path) {
  if (path->starts_with('.')) path->remove_prefix(1);
  if (path->starts_with('[')) {
    size_t index = 0;
    const auto [end, fault] = std::from_chars(path->data() + 1, path->data() + path->size(), index);
    const auto* array = from.as<Value::Array>();
    if (fault != std::errc() || array == nullptr || index >= array->size()) return nullptr;
    path->remove_prefix(std::min(path->size(), static_cast<size_t>(end - path->data()) + 1));
    return &(*array)[index];
  }
  const size_t end = std::min(path->find_first_of(".["), path->size());
  const Value* found = from.find(path->substr(0, end));
  path->remove_prefix(end);
  return found;
}

}  // namespace

const Value* Value::find(std::string_view name) const {
  const Object* object = as<Object>();
  if (object == nullptr) return nullptr;
  for (const Member& member : *object)
    if (member.name == name) return &member.value;
  return nullptr;
}

std::string_view Value::type_name() const {
  constexpr std::string_view kNames[] = {"null",   "boolean", "integer", "number",
                                         "string", "array",   "object"};
  return kNames[content.index()];
}

core::Result<Value> parse_json_value(std::string_view text) {
  simdjson::dom::parser parser;
  if (const auto code = parser.allocate(std::max<size_t>(text.size(), 64), kDepthMax))
    return core::invalid("no valid JSON: {}", simdjson::error_message(code));
  const simdjson::padded_string padded(text);
  simdjson::dom::element root;
  if (const auto code = parser.parse(padded).get(root))
    return core::invalid("no valid JSON: {}", simdjson::error_message(code));
  return convert(root);
}

int32_t line_of(const Value& root, std::string_view path) {
  const Value* at = &root;
  int32_t line = root.line;
  while (!path.empty()) {
    at = step(*at, &path);
    if (at == nullptr) return line;
    if (at->line != 0) line = at->line;
  }
  return line;
}

std::string to_text(const Problems& problems) {
  std::string text;
  for (size_t i = 0; i < std::min(problems.size(), kProblemsListed); ++i) {
    if (i > 0) text += '\n';
    if (!problems[i].path.empty()) text += problems[i].path + ": ";
    text += problems[i].message;
  }
  if (problems.size() > kProblemsListed)
    text += fmt::format("\nand {} more", problems.size() - kProblemsListed);
  return text;
}

}  // namespace sluice::contract
