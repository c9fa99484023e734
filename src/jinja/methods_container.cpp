// The methods of lists, tuples, dicts, floats, loops and cyclers. The sandbox forbids those that
// change their object: they are rows without code.
#include <cmath>

#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/support.h"

namespace sluice::jinja {

using core::Result;

namespace {

Result<Value> count(Render& render, const Value& self, const Bound& arguments) {
  int64_t found = 0;
  for (const Value& item : self.as_list().items) {
    if (TRY(equal(render, item, *arguments[0]))) ++found;
  }
  return Value::integer(found);
}

Result<Value> index(Render& render, const Value& self, const Bound& arguments) {
  const std::vector<Value>& items = self.as_list().items;
  const auto length = static_cast<int64_t>(items.size());
  const auto bound = [&](const Value* given, int64_t otherwise) -> Result<int64_t> {
    const int64_t position = TRY(integer_or(given, otherwise));
    return position < 0 ? std::max<int64_t>(std::max(position, -length) + length, 0)
                        : std::min(position, length);
  };
  const int64_t start = TRY(bound(arguments[1], 0));
  const int64_t end = TRY(bound(arguments[2], length));
  for (int64_t i = start; i < end; ++i) {
    if (TRY(equal(render, items[static_cast<size_t>(i)], *arguments[0]))) return Value::integer(i);
  }
  return core::unsupported("value is not in list");
}

// Values never change, so that a copy is the value itself.
Result<Value> copy(Render&, const Value& self, const Bound&) {
  return self;
}

template <ListKind kView>
Result<Value> view(Render& render, const Value& self, const Bound&) {
  const Dict& dict = self.as_dict();
  TRY(render.charge(dict.size()));
  List list{.items = {}, .kind = kView};
  list.items.reserve(static_cast<size_t>(dict.size()));
  for (const auto& [key, value] : dict.entries()) {
    list.items.push_back(kView == ListKind::kDictKeys     ? key
                         : kView == ListKind::kDictValues ? value
                                                          : Value::tuple({key, value}));
  }
  return Value::list(std::move(list));
}

Result<Value> get(Render& render, const Value& self, const Bound& arguments) {
  TRY(check_key(render, *arguments[0]));
  if (const Value* value = self.as_dict().find(*arguments[0])) return *value;
  return arguments[1] == nullptr ? Value::none() : *arguments[1];
}

Result<Value> is_integer(Render&, const Value& self, const Bound&) {
  return Value::boolean(std::isfinite(self.as_real()) &&
                        std::trunc(self.as_real()) == self.as_real());
}

Result<Value> loop_cycle(Render&, const Value& self, const Bound& arguments) {
  return object_as<LoopState>(self)->cycle(arguments.all.positional);
}
Result<Value> loop_changed(Render&, const Value& self, const Bound& arguments) {
  return Value::boolean(TRY(object_as<LoopState>(self)->changed(arguments.all.positional)));
}

Result<Value> cycler_next(Render&, const Value& self, const Bound&) {
  return object_as<Cycler>(self)->next();
}
Result<Value> cycler_reset(Render&, const Value& self, const Bound&) {
  object_as<Cycler>(self)->reset();
  return Value::none();
}

constexpr Native kListMethods[] = {
    {"append", nullptr}, {"clear", nullptr},
    {"copy", copy},      {"count", count, {"/value"}, 1},
    {"extend", nullptr}, {"index", index, {"/value", "/start", "/stop"}, 1},
    {"insert", nullptr}, {"pop", nullptr},
    {"remove", nullptr}, {"reverse", nullptr},
    {"sort", nullptr},
};

constexpr Native kTupleMethods[] = {
    {"count", count, {"/value"}, 1},
    {"index", index, {"/value", "/start", "/stop"}, 1},
};

constexpr Native kDictMethods[] = {
    {"clear", nullptr},
    {"copy", copy},
    {"fromkeys", nullptr},
    {"get", get, {"/key", "/default"}, 1},
    {"items", view<ListKind::kDictItems>},
    {"keys", view<ListKind::kDictKeys>},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
    {"values", view<ListKind::kDictValues>},
};

constexpr Native kRealMethods[] = {{"is_integer", is_integer}};

constexpr Native kLoopMethods[] = {
    {"changed", loop_changed, {"*"}},
    {"cycle", loop_cycle, {"*"}},
};

constexpr Native kCyclerMethods[] = {
    {"next", cycler_next},
    {"reset", cycler_reset},
};

}  // namespace

std::span<const Native> list_methods() {
  return kListMethods;
}
std::span<const Native> tuple_methods() {
  return kTupleMethods;
}
std::span<const Native> dict_methods() {
  return kDictMethods;
}
std::span<const Native> real_methods() {
  return kRealMethods;
}
std::span<const Native> loop_methods() {
  return kLoopMethods;
}
std::span<const Native> cycler_methods() {
  return kCyclerMethods;
}

}  // namespace sluice::jinja
