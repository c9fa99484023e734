// Filters that apply other filters, tests or attributes to each item; and `default` and `attr`.
#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/support.h"

namespace sluice::jinja {

using core::Result;

namespace {

// The arguments behind the first `count`.
Arguments behind(const Arguments& arguments, size_t count) {
  Arguments rest{.positional = {}, .named = arguments.named};
  for (size_t i = count; i < arguments.positional.size(); ++i) {
    rest.positional.push_back(arguments.positional[i]);
  }
  return rest;
}

Result<Value> map_attribute(Render& render, const Value& input, const Arguments& arguments) {
  const Value* attribute_name = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [name, value] : arguments.named) {
    if (name == "attribute") {
      attribute_name = &value;
    } else if (name == "default") {
      otherwise = &value;
    } else {
      return core::unsupported("Unexpected keyword argument '{}'", name);
    }
  }
  if (attribute_name == nullptr) return core::unsupported("map requires a filter argument");
  return generator(render, [&](std::vector<Value>& mapped) -> Result<void> {
    const AttributePath path = TRY(AttributePath::of(attribute_name));
    for (const Value& item : TRY(collect(render, input))) {
      mapped.push_back(TRY(path.get(render, item, otherwise)));
    }
    return {};
  });
}

Result<Value> map(Render& render, const Value& input, const Bound& arguments) {
  if (!truth(input)) return render.make_value<Generator>(std::vector<Value>());
  if (arguments.all.positional.empty()) return map_attribute(render, input, arguments.all);
  return generator(render, [&](std::vector<Value>& mapped) -> Result<void> {
    const std::string_view name = TRY(string_of(arguments.all.positional[0], "a filter's name"));
    const Native* filter = find_filter(name);
    if (filter == nullptr) return core::unsupported("No filter named '{}'.", name);
    const Arguments rest = behind(arguments.all, 1);
    for (const Value& item : TRY(collect(render, input))) {
      mapped.push_back(TRY(filter->call(render, item, rest)));
    }
    return {};
  });
}

enum class Keep { kPassing, kFailing };
enum class Subject { kItem, kAttribute };

// The items whose test (or whose truth, without one) is as wanted.
template <Keep kKeep, Subject kSubject>
Result<Value> selected(Render& render, const Value& input, const Bound& arguments) {
  if (!truth(input)) return render.make_value<Generator>(std::vector<Value>());
  return generator(render, [&](std::vector<Value>& kept) -> Result<void> {
    const std::vector<Value>& given = arguments.all.positional;
    constexpr size_t kTestAt = kSubject == Subject::kAttribute ? 1 : 0;
    if (given.size() < kTestAt) return core::unsupported("Missing parameter for attribute name");
    AttributePath path = TRY(AttributePath::of(kTestAt == 1 ? &given[0] : nullptr));
    const Native* test = nullptr;
    if (given.size() > kTestAt) {
      const std::string_view name = TRY(string_of(given[kTestAt], "a test's name"));
      test = find_test(name);
      if (test == nullptr) return core::unsupported("No test named '{}'.", name);
    }
    const Arguments rest = behind(arguments.all, kTestAt + 1);
    for (const Value& item : TRY(collect(render, input))) {
      const Value subject = TRY(path.get(render, item, nullptr));
      const bool passes = truth(test == nullptr ? subject : TRY(test->call(render, subject, rest)));
      if (passes == (kKeep == Keep::kPassing)) kept.push_back(item);
    }
    return {};
  });
}

Result<Value> default_value(Render&, const Value& input, const Bound& arguments) {
  const bool also_false = is_true(arguments[1]);
  if (!input.is_undefined() && (!also_false || truth(input))) return input;
  return arguments[0] == nullptr ? Value::string("") : *arguments[0];
}

// Unlike object.name, does not look at the items of a dict.
Result<Value> attr(Render& render, const Value& input, const Bound& arguments) {
  const std::string name(TRY(string_of(*arguments[0], "an attribute's name")));
  if (input.is_undefined()) return undefined_error(input);
  if (input.is(Kind::kDict) && find_method(MethodOwner::kDict, name) == nullptr) {
    return Value::undefined(fmt::format("'dict object' has no attribute '{}'", name));
  }
  return attribute(render, input, name);
}

constexpr Native kFilters[] = {
    {"attr", attr, {"name"}, 1},
    {"d", default_value, {"default_value", "boolean"}},
    {"default", default_value, {"default_value", "boolean"}},
    {"map", map, {"*"}},
    {"reject", selected<Keep::kFailing, Subject::kItem>, {"*"}},
    {"rejectattr", selected<Keep::kFailing, Subject::kAttribute>, {"*"}},
    {"select", selected<Keep::kPassing, Subject::kItem>, {"*"}},
    {"selectattr", selected<Keep::kPassing, Subject::kAttribute>, {"*"}},
};

}  // namespace

std::span<const Native> selection_filters() {
  return kFilters;
}

}  // namespace sluice::jinja
