// Global functions: what a template can call without defining it.
#include <ctime>

#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"

namespace sluice::jinja {

using core::Result;

namespace {

constexpr int64_t kRangeMax = 100'000;  // the sandbox's limit

Result<Value> range(Render& render, const Value&, const Bound& arguments) {
  if (!arguments.all.named.empty() || arguments.all.positional.empty() ||
      arguments.all.positional.size() > 3) {
    return core::unsupported("range() takes one to three arguments");
  }
  std::vector<int64_t> given;
  for (const Value& value : arguments.all.positional) given.push_back(TRY(integer_of(value)));
  List list{.items = {}, .kind = ListKind::kRange};
  list.range.start = given.size() > 1 ? given[0] : 0;
  list.range.stop = given.size() > 1 ? given[1] : given[0];
  list.range.step = given.size() > 2 ? given[2] : 1;
  const auto& [start, stop, step] = list.range;
  if (step == 0) return core::unsupported("range() arg 3 must not be zero");
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(list.items.size()) == kRangeMax) {
      return core::Error{core::ErrorCode::kLimit,
                         fmt::format("range() has more than {} items", kRangeMax)};
    }
    list.items.push_back(Value::integer(static_cast<int64_t>(i)));
  }
  TRY(render.charge(static_cast<int64_t>(list.items.size())));
  return Value::list(std::move(list));
}

// dict(mapping or pairs, **more)
Result<Dict> dict_from(Render& render, const Arguments& arguments) {
  if (arguments.positional.size() > 1) return core::unsupported("dict expected at most 1 argument");
  Dict dict;
  if (!arguments.positional.empty() && arguments.positional[0].is(Kind::kDict)) {
    dict = arguments.positional[0].as_dict();
  } else if (!arguments.positional.empty()) {
    for (const Value& pair : TRY(collect(render, arguments.positional[0]))) {
      const std::vector<Value> both = TRY(collect(render, pair));
      if (both.size() != 2) return core::unsupported("dict() needs pairs");
      TRY(check_key(render, both[0]));
      dict.set(both[0], both[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(name, value);
  TRY(render.charge(dict.size()));
  return dict;
}

Result<Value> dict(Render& render, const Value&, const Bound& arguments) {
  return Value::dict(TRY(dict_from(render, arguments.all)));
}

Result<Value> make_namespace(Render& render, const Value&, const Bound& arguments) {
  return render.make_value<Namespace>(TRY(dict_from(render, arguments.all)));
}

Result<Value> cycler(Render& render, const Value&, const Bound& arguments) {
  if (arguments.all.positional.empty()) {
    return core::unsupported("at least one item has to be provided");
  }
  return render.make_value<Cycler>(arguments.all.positional);
}

Result<Value> joiner(Render& render, const Value&, const Bound& arguments) {
  return render.make_value<Joiner>(arguments[0] == nullptr ? Value::string(", ") : *arguments[0]);
}

Result<Value> raise_exception(Render& render, const Value&, const Bound& arguments) {
  return render.raise(TRY(to_text(render, *arguments[0])));
}

// As Python's datetime.now().strftime(): local time without a zone.
Result<Value> strftime_now(Render& render, const Value&, const Bound& arguments) {
  const std::string_view format = TRY(string_of(*arguments[0], "the format of strftime_now"));
  std::string pattern;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = i + 1 < format.size() ? format[i + 1] : '\0';
    if (format[i] != '%' || next == '\0') {
      pattern += format[i];
      continue;
    }
    ++i;
    if (next == 'f') {
      pattern += "000000";  // microseconds, of a clock of seconds
    } else if (next != 'z' && next != 'Z') {
      pattern += {'%', next};
    }
  }
  if (pattern.empty()) return Value::string("");
  const std::time_t seconds =
      static_cast<std::time_t>(render.options().now_unix_s + render.options().utc_offset_s);
  std::tm time{};
  if (gmtime_r(&seconds, &time) == nullptr) return core::unsupported("the time is out of range");
  // No conversion is longer than this.
  constexpr size_t kConversionMax = 128;
  TRY(render.charge_string(pattern.size(), kConversionMax));
  std::string text(pattern.size() * kConversionMax + 1, '\0');
  text.resize(std::strftime(text.data(), text.size(), pattern.c_str(), &time));
  return Value::string(std::move(text));
}

constexpr Native kFunctions[] = {
    {"cycler", cycler, {"*"}},
    {"dict", dict, {"*"}},
    {"joiner", joiner, {"sep"}},
    {"namespace", make_namespace, {"*"}},
    {"raise_exception", raise_exception, {"message"}, 1},
    {"range", range, {"*"}},
    {"strftime_now", strftime_now, {"format"}, 1},
};

}  // namespace

std::span<const Native> global_functions() {
  return kFunctions;
}

}  // namespace sluice::jinja
