#include "jinja/objects.h"

#include <algorithm>

#include "jinja/render.h"
#include "jinja/text.h"

namespace sluice::jinja {

using core::Result;

namespace {

using NamedValues = std::vector<std::pair<std::string, Value>>;

// Missing where there is none: no argument is without a message, not even an undefined one.
Value take(NamedValues& named, std::string_view name) {
  const auto found = std::find_if(named.begin(), named.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  if (found == named.end()) return Value();
  const Value value = found->second;
  named.erase(found);
  return value;
}

}  // namespace

Result<Value> Object::call(Render&, const Arguments&) {
  return core::unsupported("'{}' object is not callable", type_name());
}

Result<std::string> Object::representation(Render&) {
  return fmt::format("<{} object>", type_name());
}

Result<Value> Namespace::attribute(Render&, std::string_view name) {
  const Value* value = attributes_.find(name);
  return value == nullptr ? Value() : *value;
}

Result<std::string> Namespace::representation(Render& render) {
  std::string text = "<Namespace ";
  TRY(append_repr(render, text, Value::dict(attributes_)));
  return text + ">";
}

Result<Value> Macro::attribute(Render&, std::string_view name) {
  if (name == "name") return code_.name.empty() ? Value::none() : Value::string(code_.name);
  if (name == "caller") return Value::boolean(code_.has_caller);
  if (name == "catch_kwargs") return Value::boolean(code_.kwargs_slot.has_value());
  if (name == "catch_varargs") return Value::boolean(code_.varargs_slot.has_value());
  if (name != "arguments") return Value();
  std::vector<Value> names;
  for (const auto& parameter : code_.parameters) names.push_back(Value::string(parameter.name));
  return Value::tuple(std::move(names));
}

Result<std::string> Macro::representation(Render&) {
  return code_.name.empty() ? "<Macro anonymous>" : fmt::format("<Macro '{}'>", code_.name);
}

// Fills the slots of the parameters; those without an argument stay missing.
Result<void> Macro::bind(Render& render, const Arguments& arguments, Activation& activation) const {
  TRY(render.charge(static_cast<int64_t>(arguments.positional.size())));
  const auto fill = [&](int index, const Value& value) {
    activation.slots[static_cast<size_t>(index)] = value;
  };
  NamedValues named = arguments.named;
  const size_t given = arguments.positional.size();
  for (size_t i = 0; i < code_.parameters.size(); ++i) {
    const MacroCode::Parameter& parameter = code_.parameters[i];
    fill(parameter.slot, i < given ? arguments.positional[i] : take(named, parameter.name));
  }
  if (code_.caller_slot) {
    const Value caller = take(named, "caller");
    const bool none = caller.is_missing() || caller.is_none();
    fill(*code_.caller_slot, none ? Value::undefined("No caller defined") : caller);
  }
  if (code_.kwargs_slot) {
    Dict kwargs;
    for (auto& [name, value] : named) kwargs.set(name, std::move(value));
    fill(*code_.kwargs_slot, TRY(render.checked_depth(Value::dict(std::move(kwargs)))));
  } else if (!named.empty()) {
    return core::unsupported("macro '{}' takes no keyword argument '{}'", code_.name,
                             named.front().first);
  }
  if (code_.varargs_slot) {
    const size_t used = std::min(given, code_.parameters.size());
    const auto first = arguments.positional.begin() + static_cast<std::ptrdiff_t>(used);
    const Value rest = Value::tuple({first, arguments.positional.end()});
    fill(*code_.varargs_slot, TRY(render.checked_depth(rest)));
  } else if (given > code_.parameters.size()) {
    return core::unsupported("macro '{}' takes not more than {} argument(s)", code_.name,
                             code_.parameters.size());
  }
  return {};
}

Result<Value> Macro::call(Render& render, const Arguments& arguments) {
  Render::ActivationHolder activation = render.activate(code_.function, &outer_);
  TRY(bind(render, arguments, *activation));
  return Value::string(TRY(render.run_macro(code_, *activation)));
}

Result<Value> NativeFunction::call(Render& render, const Arguments& arguments) {
  return native_.call(render, self_, arguments);
}

Result<std::optional<Value>> Generator::next() {
  if (next_ < items_.size()) return std::optional<Value>(items_[next_++]);
  if (error_) return *error_;
  return std::optional<Value>();
}

Result<Value> Cycler::attribute(Render&, std::string_view name) {
  return name == "current" ? items_[next_] : Value();
}

Value Cycler::next() {
  const Value& value = items_[next_];
  next_ = (next_ + 1) % items_.size();
  return value;
}

Result<Value> Joiner::call(Render&, const Arguments&) {
  if (std::exchange(used_, true)) return separator_;
  return Value::string("");
}

}  // namespace sluice::jinja
