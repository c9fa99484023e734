// Filters on lists, dicts and everything else that can be walked through.
#include <algorithm>

#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

Result<Value> length(Render& render, const Value& input, const Bound&) {
  if (auto* loop = object_as<LoopState>(input)) return Value::integer(TRY(loop->length()));
  const auto length = TRY(charged_length(render, input));
  if (length) return Value::integer(*length);
  return core::unsupported("object of type '{}' has no len()", type_name(input));
}

Result<Value> first(Render&, const Value& input, const Bound&) {
  Iterator iterator = TRY(Iterator::over(input));
  Value item;
  if (TRY(iterator.next(item))) return item;
  return Value::undefined("No first item, sequence was empty.");
}

// What Python's reversed() takes: things with a length and an order.
bool is_reversible(const Value& value) {
  return value.is_string() || length_of(value).has_value();
}

Result<Value> last(Render& render, const Value& input, const Bound&) {
  if (!is_reversible(input)) {
    return core::unsupported("'{}' object is not reversible", type_name(input));
  }
  if (*TRY(charged_length(render, input)) == 0)
    return Value::undefined("No last item, sequence was empty.");
  if (input.is(Kind::kList)) return input.as_list().items.back();
  if (input.is_string()) return subscript(render, input, Value::integer(-1));
  return input.as_dict().entries().back().key;
}

Result<Value> list(Render& render, const Value& input, const Bound&) {
  return Value::list(TRY(collect(render, input)));
}

Result<Value> reverse(Render& render, const Value& input, const Bound&) {
  if (input.is_string()) {
    return slice(render, input,
                 {.start = Value::none(), .stop = Value::none(), .step = Value::integer(-1)});
  }
  std::vector<Value> items = TRY(collect(render, input));
  std::reverse(items.begin(), items.end());
  if (is_reversible(input)) return render.make_value<Generator>(std::move(items));
  return Value::list(std::move(items));
}

Value pair_of(const Dict::Entry& entry) {
  return Value::tuple({entry.key, entry.value});
}

Result<Value> items(Render& render, const Value& input, const Bound&) {
  return generator(render, [&](std::vector<Value>& pairs) -> Result<void> {
    if (input.is_undefined()) return {};
    if (!input.is(Kind::kDict)) return core::unsupported("Can only get item pairs from a mapping.");
    for (const Dict::Entry& entry : input.as_dict().entries()) pairs.push_back(pair_of(entry));
    return render.charge(input.as_dict().size());
  });
}

Result<Value> dict_sort(Render& render, const Value& input, const Bound& arguments) {
  if (input.is_undefined()) return undefined_error(input);
  if (!input.is(Kind::kDict)) {
    return core::unsupported("'{}' object has no attribute 'items'", type_name(input));
  }
  const bool case_sensitive = is_true(arguments[0]);
  const std::string_view by =
      arguments[1] == nullptr ? "key" : TRY(string_of(*arguments[1], "what dictsort sorts by"));
  if (by != "key" && by != "value") {
    return core::unsupported("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Value> pairs;
  std::vector<Value> keys;
  for (const Dict::Entry& entry : input.as_dict().entries()) {
    pairs.push_back(pair_of(entry));
    const Value& key = by == "key" ? entry.key : entry.value;
    keys.push_back(case_sensitive ? key : ignore_case(key));
  }
  const Order order = is_true(arguments[2]) ? Order::kDescending : Order::kAscending;
  return Value::list(TRY(sort_by_keys(render, std::move(pairs), std::move(keys), order)));
}

// "name,address.city": one path for each.
Result<std::vector<AttributePath>> paths_of(const Value* attribute) {
  std::vector<AttributePath> paths;
  if (!is_given(attribute) || !attribute->is_string()) {
    paths.push_back(TRY(AttributePath::of(attribute)));
    return paths;
  }
  const std::string& names = attribute->as_string();
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    const Value name = Value::string(names.substr(begin, end - begin));
    paths.push_back(TRY(AttributePath::of(&name)));
    begin = end + 1;
  }
  return paths;
}

Result<Value> sort(Render& render, const Value& input, const Bound& arguments) {
  const Order order = is_true(arguments[0]) ? Order::kDescending : Order::kAscending;
  const bool case_sensitive = is_true(arguments[1]);
  const std::vector<AttributePath> paths = TRY(paths_of(arguments[2]));
  std::vector<Value> values = TRY(collect(render, input));
  std::vector<Value> keys;
  for (const Value& value : values) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      const Value part = TRY(path.get(render, value, nullptr));
      key.push_back(case_sensitive ? part : ignore_case(part));
    }
    keys.push_back(Value::list(std::move(key)));
  }
  return Value::list(TRY(sort_by_keys(render, std::move(values), std::move(keys), order)));
}

Result<Value> unique(Render& render, const Value& input, const Bound& arguments) {
  return generator(render, [&](std::vector<Value>& found) -> Result<void> {
    const bool case_sensitive = is_true(arguments[0]);
    const AttributePath path = TRY(AttributePath::of(arguments[1]));
    Dict seen;
    for (const Value& item : TRY(collect(render, input))) {
      const Value part = TRY(path.get(render, item, nullptr));
      const Value key = case_sensitive ? part : ignore_case(part);
      TRY(check_key(render, key));
      if (seen.find(key) != nullptr) continue;
      seen.set(key, Value::none());
      found.push_back(item);
    }
    return {};
  });
}

enum class Extreme { kSmallest, kLargest };
template <Extreme kWanted>
Result<Value> extreme(Render& render, const Value& input, const Bound& arguments) {
  const bool case_sensitive = is_true(arguments[0]);
  const AttributePath path = TRY(AttributePath::of(arguments[1]));
  const std::vector<Value> values = TRY(collect(render, input));
  if (values.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Value* best = nullptr;
  Value best_key;
  for (const Value& value : values) {
    const Value part = TRY(path.get(render, value, nullptr));
    Value key = case_sensitive ? part : ignore_case(part);
    bool better = best == nullptr;
    if (!better) {
      better = kWanted == Extreme::kSmallest ? TRY(less(render, key, best_key))
                                             : TRY(less(render, best_key, key));
    }
    if (!better) continue;
    best = &value;
    best_key = std::move(key);
  }
  return *best;
}

Result<Value> sum(Render& render, const Value& input, const Bound& arguments) {
  const AttributePath path = TRY(AttributePath::of(arguments[0]));
  Value total = arguments[1] == nullptr ? Value::integer(0) : *arguments[1];
  if (total.is_string()) return core::unsupported("sum() can't sum strings");
  for (const Value& item : TRY(collect(render, input))) {
    const Value part = TRY(path.get(render, item, nullptr));
    total = TRY(binary(render, BinaryOp::kAdd, total, part));
  }
  return total;
}

Result<Value> join(Render& render, const Value& input, const Bound& arguments) {
  const AttributePath path = TRY(AttributePath::of(arguments[1]));
  const std::string separator =
      arguments[0] == nullptr ? std::string() : TRY(to_text(render, *arguments[0]));
  std::string out;
  bool first_item = true;
  for (const Value& item : TRY(collect(render, input))) {
    if (!first_item) out += separator;
    first_item = false;
    const Value part = TRY(path.get(render, item, nullptr));
    TRY(append_text(render, out, part));
    if (static_cast<int64_t>(out.size()) > render.options().output_bytes_max) break;
  }
  TRY(render.charge_string(out.size()));
  return Value::string(std::move(out));
}

Result<Value> group_by(Render& render, const Value& input, const Bound& arguments) {
  const AttributePath path = TRY(AttributePath::of(arguments[0]));
  const Value* otherwise = arguments[1];
  const bool case_sensitive = is_true(arguments[2]);
  const auto key_of = [&](const Value& item) -> Result<Value> {
    const Value key = TRY(path.get(render, item, otherwise));
    return case_sensitive ? key : ignore_case(key);
  };
  std::vector<Value> values = TRY(collect(render, input));
  std::vector<Value> keys;
  for (const Value& value : values) keys.push_back(TRY(key_of(value)));
  values = TRY(sort_by_keys(render, std::move(values), std::move(keys), Order::kAscending));

  std::vector<Value> groups;
  std::vector<Value> members;
  Value group_key;
  const auto finish_group = [&]() -> Result<void> {
    if (members.empty()) return {};
    const Value grouper = TRY(path.get(render, members[0], otherwise));
    groups.push_back(Value::list(
        List{.items = {grouper, Value::list(std::move(members))}, .kind = ListKind::kGroup}));
    members.clear();
    return {};
  };
  for (const Value& value : values) {
    Value key = TRY(key_of(value));
    if (members.empty() || !TRY(equal(render, key, group_key))) {
      TRY(finish_group());
      group_key = std::move(key);
    }
    members.push_back(value);
  }
  TRY(finish_group());
  return Value::list(std::move(groups));
}

// Lists of `linecount` items, the last one filled up with `fill_with`.
Result<Value> batch(Render& render, const Value& input, const Bound& arguments) {
  return generator(render, [&](std::vector<Value>& batches) -> Result<void> {
    const int64_t size = TRY(integer_of(*arguments[0]));
    const std::vector<Value> values = TRY(collect(render, input));
    std::vector<Value> batch;
    for (const Value& value : values) {
      if (static_cast<int64_t>(batch.size()) == size) {
        batches.push_back(Value::list(std::exchange(batch, {})));
      }
      batch.push_back(value);
    }
    if (batch.empty()) return {};
    if (is_given(arguments[1]) && static_cast<int64_t>(batch.size()) < size) {
      TRY(render.charge(size));
      batch.resize(static_cast<size_t>(size), *arguments[1]);
    }
    batches.push_back(Value::list(std::move(batch)));
    return {};
  });
}

// `slices` lists of about equal length.
Result<Value> slices(Render& render, const Value& input, const Bound& arguments) {
  return generator(render, [&](std::vector<Value>& lists) -> Result<void> {
    const std::vector<Value> values = TRY(collect(render, input));
    const int64_t count = TRY(integer_of(*arguments[0]));
    if (count == 0) return core::unsupported("integer division or modulo by zero");
    if (count < 0) return {};
    TRY(render.charge_items(count, kObjectSteps));
    const auto total = static_cast<int64_t>(values.size());
    const int64_t longer = total % count;
    auto from = values.begin();
    for (int64_t i = 0; i < count; ++i) {
      const auto to = from + total / count + (i < longer ? 1 : 0);
      std::vector<Value> part(from, to);
      if (is_given(arguments[1]) && i >= longer) part.push_back(*arguments[1]);
      lists.push_back(Value::list(std::move(part)));
      from = to;
    }
    return {};
  });
}

constexpr Native kFilters[] = {
    {"batch", batch, {"linecount", "fill_with"}, 1},
    {"count", length},
    {"dictsort", dict_sort, {"case_sensitive", "by", "reverse"}},
    {"first", first},
    {"groupby", group_by, {"attribute", "default", "case_sensitive"}, 1},
    {"items", items},
    {"join", join, {"d", "attribute"}},
    {"last", last},
    {"length", length},
    {"list", list},
    {"max", extreme<Extreme::kLargest>, {"case_sensitive", "attribute"}},
    {"min", extreme<Extreme::kSmallest>, {"case_sensitive", "attribute"}},
    {"reverse", reverse},
    {"slice", slices, {"slices", "fill_with"}, 1},
    {"sort", sort, {"reverse", "case_sensitive", "attribute"}},
    {"sum", sum, {"attribute", "start"}},
    {"unique", unique, {"case_sensitive", "attribute"}},
};

}  // namespace

std::span<const Native> sequence_filters() {
  return kFilters;
}

}  // namespace sluice::jinja
