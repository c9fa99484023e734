#include "jinja/native.h"

#include <algorithm>

namespace sluice::jinja {

using core::Result;

namespace {

const Native* find_in(std::span<const Native> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Native::name);
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

Result<Value> Native::call(Render& render, const Value& self, const Arguments& arguments) const {
  if (code == nullptr) return core::unsupported("'{}' is not supported", name);
  Bound bound{.given = {}, .all = arguments};
  if (parameters[0] == "*") return code(render, self, bound);
  const auto count =
      static_cast<size_t>(std::ranges::find(parameters, std::string_view()) - parameters.begin());
  if (arguments.positional.size() > count) {
    return core::unsupported("{}() takes at most {} arguments, {} given", name, count,
                             arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i)
    bound.given[i] = &arguments.positional[i];
  for (const auto& [given_name, value] : arguments.named) {
    const auto index = static_cast<size_t>(
        std::ranges::find(parameters, std::string_view(given_name)) - parameters.begin());
    if (index >= count) {
      return core::unsupported("{}() got an unexpected keyword argument '{}'", name, given_name);
    }
    if (bound.given[index] != nullptr) {
      return core::unsupported("{}() got multiple values for argument '{}'", name, given_name);
    }
    bound.given[index] = &value;
  }
  for (int i = 0; i < required; ++i) {
    if (bound[i] == nullptr) {
      std::string_view missing = parameters[static_cast<size_t>(i)];
      if (missing.starts_with('/')) missing.remove_prefix(1);
      return core::unsupported("{}() missing required argument '{}'", name, missing);
    }
  }
  return code(render, self, bound);
}

const Native* find_filter(std::string_view name) {
  for (const auto table :
       {text_filters(), sequence_filters(), selection_filters(), number_filters()}) {
    if (const Native* found = find_in(table, name)) return found;
  }
  return nullptr;
}

const Native* find_test(std::string_view name) {
  return find_in(value_tests(), name);
}
const Native* find_function(std::string_view name) {
  return find_in(global_functions(), name);
}

const Native* find_method(MethodOwner owner, std::string_view name) {
  switch (owner) {
    case MethodOwner::kString:
      return find_in(text_methods(), name);
    case MethodOwner::kList:
      return find_in(list_methods(), name);
    case MethodOwner::kTuple:
      return find_in(tuple_methods(), name);
    case MethodOwner::kDict:
      return find_in(dict_methods(), name);
    case MethodOwner::kReal:
      return find_in(real_methods(), name);
    case MethodOwner::kLoop:
      return find_in(loop_methods(), name);
    case MethodOwner::kCycler:
      return find_in(cycler_methods(), name);
  }
  return nullptr;
}

Methods find_methods(std::string_view name) {
  Methods methods;
  for (size_t owner = 0; owner < kMethodOwners; ++owner) {
    methods.by_owner[owner] = find_method(static_cast<MethodOwner>(owner), name);
  }
  return methods;
}

}  // namespace sluice::jinja
