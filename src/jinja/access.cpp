// Attributes, items and slices of values.
#include <algorithm>
#include <limits>

#include "jinja/objects.h"
#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

// What jinja2 calls the value in "… has no attribute".
std::string describe(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is(Kind::kObject)) return fmt::format("jinja2 {} object", type_name(value));
  return fmt::format("{} object", type_name(value));
}

Value no_attribute(const Value& object, std::string_view name) {
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", describe(object), name));
}

// A method as a value; those that change their object are out of reach.
Value method_value(Render& render, const Value& object, const Native& method) {
  if (method.code == nullptr) {
    return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe",
                                        method.name, type_name(object)));
  }
  return render.make_value<NativeFunction>(method, object);
}

// Attributes that are not methods: of objects, and of the groups of groupby.
Result<Value> plain_attribute(Render& render, const Value& object, std::string_view name) {
  if (object.is(Kind::kObject)) return object.as_object().attribute(render, name);
  if (object.is(Kind::kList) && object.as_list().kind == ListKind::kGroup) {
    if (name == "grouper") return object.as_list().items[0];
    if (name == "list") return object.as_list().items[1];
  }
  return Value();
}

// getattr(object, name): missing where there is none. `method` may be null.
Result<Value> python_attribute(Render& render, const Value& object, std::string_view name,
                               const Native* method) {
  if (method != nullptr) return method_value(render, object, *method);
  return plain_attribute(render, object, name);
}

struct Range {
  int64_t start, stop, step;
};

// Python's slice.indices(length).
Result<Range> slice_range(const SliceBounds& bounds, int64_t length) {
  const auto given = [](const Value& bound) { return !bound.is_missing() && !bound.is_none(); };
  const auto integer = [](const Value& bound) -> Result<int64_t> {
    if (bound.is(Kind::kInteger) || bound.is(Kind::kBoolean)) return integer_of(bound);
    return core::unsupported("slice indices must be integers or None, not {}", type_name(bound));
  };
  const int64_t step = given(bounds.step) ? TRY(integer(bounds.step)) : 1;
  if (step == 0) return core::unsupported("slice step cannot be zero");
  const int64_t low = step < 0 ? -1 : 0;
  const int64_t high = step < 0 ? length - 1 : length;
  const auto clamped = [&](const Value& bound, int64_t otherwise) -> Result<int64_t> {
    if (!given(bound)) return otherwise;
    int64_t index = TRY(integer(bound));
    if (index < 0) index = std::max(index, -length - 1) + length;
    return std::clamp(index, low, high);
  };
  const int64_t start = TRY(clamped(bounds.start, step < 0 ? high : low));
  const int64_t stop = TRY(clamped(bounds.stop, step < 0 ? low : high));
  return Range{start, stop, step};
}

bool inside(const Range& range, int64_t index) {
  return range.step > 0 ? index < range.stop : index > range.stop;
}

// Moves on, and past the end where the sum would not fit.
int64_t advance(const Range& range, int64_t index) {
  int64_t next = 0;
  return __builtin_add_overflow(index, range.step, &next) ? range.stop : next;
}

int64_t saturated(__int128 value) {
  using Limits = std::numeric_limits<int64_t>;
  return static_cast<int64_t>(std::clamp<__int128>(value, Limits::min(), Limits::max()));
}

// The slice of a range of integers. Its stop and step may not fit into 64 bits; its items do.
List::Range slice_of_range(const List::Range& range, const Range& slice) {
  const __int128 start = range.start;
  const __int128 step = range.step;
  return {.start = saturated(start + slice.start * step),
          .stop = saturated(start + slice.stop * step),
          .step = saturated(step * slice.step)};
}

Value slice_string(const Value& value, const Range& range, int64_t length) {
  const std::string& text = value.as_string();
  std::string cut;
  if (range.step == 1) {
    const size_t begin = offset_of(text, range.start);
    const std::string_view rest = std::string_view(text).substr(begin);
    cut = rest.substr(0, offset_of(rest, range.stop - range.start));
  } else {
    std::vector<size_t> offsets;
    offsets.reserve(static_cast<size_t>(length) + 1);
    for (size_t at = 0; at < text.size(); at = next_offset(text, at)) offsets.push_back(at);
    offsets.push_back(text.size());
    for (int64_t i = range.start; inside(range, i); i = advance(range, i)) {
      const auto position = static_cast<size_t>(i);
      cut.append(text, offsets[position], offsets[position + 1] - offsets[position]);
    }
  }
  return value.is_safe_string() ? Value::safe_string(std::move(cut))
                                : Value::string(std::move(cut));
}

}  // namespace

std::optional<MethodOwner> method_owner(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return MethodOwner::kString;
    case Kind::kDict:
      return MethodOwner::kDict;
    case Kind::kReal:
      return MethodOwner::kReal;
    case Kind::kObject:
      return value.as_object().method_owner();
    case Kind::kList:
      break;
    default:
      return std::nullopt;
  }
  switch (value.as_list().kind) {
    case ListKind::kList:
      return MethodOwner::kList;
    case ListKind::kTuple:
    case ListKind::kGroup:
    case ListKind::kRange:
      return MethodOwner::kTuple;
    default:
      return std::nullopt;
  }
}

const Native* Methods::of(const Value& value) const {
  const auto owner = method_owner(value);
  return owner ? by_owner[static_cast<size_t>(*owner)] : nullptr;
}

Result<Value> attribute(Render& render, const Value& object, const Attribute& node) {
  if (object.is_undefined()) return undefined_error(object);
  const std::string& name = node.name.as_string();
  const Native* method = node.methods.of(object);
  if (object.is(Kind::kDict) && method == nullptr) {
    const Value* item = object.as_dict().find(name);
    return item != nullptr ? *item : node.missing_in_dict;
  }
  Value value = TRY(python_attribute(render, object, name, method));
  return value.is_missing() ? no_attribute(object, name) : value;
}

Result<Value> attribute(Render& render, const Value& object, const std::string& name) {
  return attribute(render, object,
                   Attribute{.object = nullptr,
                             .name = Value::string(name),
                             .missing_in_dict = no_attribute(object, name),
                             .methods = find_methods(name)});
}

Result<Value> subscript(Render& render, const Value& object, const Value& key) {
  if (object.is_undefined()) return undefined_error(object);
  const bool is_index = key.is(Kind::kInteger) || key.is(Kind::kBoolean);
  if (object.is(Kind::kDict)) {
    if (const Value* item = object.as_dict().find(key)) return *item;
  } else if (object.is(Kind::kList) && object.as_list().kind <= ListKind::kRange && is_index) {
    const std::vector<Value>& items = object.as_list().items;
    int64_t index = TRY(integer_of(key));
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index >= 0 && index < static_cast<int64_t>(items.size())) {
      return items[static_cast<size_t>(index)];
    }
  } else if (object.is_string() && is_index) {
    TRY(render.charge_bytes(object.as_string().size()));
    const int64_t length = code_points(object.as_string());
    int64_t index = TRY(integer_of(key));
    if (index < 0) index += length;
    if (index >= 0 && index < length) {
      return slice_string(object, {.start = index, .stop = index + 1, .step = 1}, length);
    }
  }
  if (!key.is_string()) {
    return Value::undefined(fmt::format("{} has no such element", describe(object)));
  }
  const std::string& name = key.as_string();
  const auto owner = method_owner(object);
  const Native* method = owner ? find_method(*owner, name) : nullptr;
  Value value = TRY(python_attribute(render, object, name, method));
  return value.is_missing() ? no_attribute(object, name) : value;
}

Result<Value> slice(Render& render, const Value& object, const SliceBounds& bounds) {
  if (object.is_undefined()) return undefined_error(object);
  const bool is_list = object.is(Kind::kList) && object.as_list().kind <= ListKind::kRange;
  if (!is_list && !object.is_string()) {
    return core::unsupported("'{}' object is not subscriptable by a slice", type_name(object));
  }
  TRY(object.is_string() ? render.charge_bytes(object.as_string().size()) : Result<void>());
  const int64_t length = *length_of(object);
  const Range range = TRY(slice_range(bounds, length));
  if (object.is_string()) return slice_string(object, range, length);
  const List& list = object.as_list();
  List cut{.items = {}, .kind = list.kind == ListKind::kGroup ? ListKind::kTuple : list.kind};
  for (int64_t i = range.start; inside(range, i); i = advance(range, i)) {
    cut.items.push_back(list.items[static_cast<size_t>(i)]);
  }
  TRY(render.charge(static_cast<int64_t>(cut.items.size())));
  if (cut.kind == ListKind::kRange) {
    cut.range = slice_of_range(list.range, range);
  }
  return Value::list(std::move(cut));
}

}  // namespace sluice::jinja
