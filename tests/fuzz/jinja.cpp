// Any bytes are a template that renders, or an Error: within small limits, twice the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/assert.h"
#include "jinja/template.h"

namespace sluice::jinja {
namespace {

Value dict_of(std::vector<std::pair<std::string, Value>> entries) {
  Dict dict;
  for (auto& [key, value] : entries) dict.set(std::move(key), std::move(value));
  return Value::dict(std::move(dict));
}

Value message(std::string role, Value content) {
  return dict_of({{"role", Value::string(std::move(role))}, {"content", std::move(content)}});
}

Value globals() {
  const Value call = dict_of({{"name", Value::string("f")}, {"arguments", dict_of({})}});
  const Value part = dict_of({{"type", Value::string("text")}, {"text", Value::string("日")}});
  const std::vector<Value> messages = {
      message("system", Value::string(" Be brief.\n")),
      message("user", Value::list(std::vector<Value>{part})),
      message("assistant", Value::none()),
      message("tool", Value::string("<think>a</think>é\xff")),
  };
  return dict_of({
      {"messages", Value::list(messages)},
      {"tools", Value::list(std::vector<Value>{call})},
      {"s", Value::string("Hello World")},
      {"i", Value::integer(7)},
      {"f", Value::real(2.5)},
      {"most", Value::integer(INT64_MAX)},
      {"least", Value::integer(INT64_MIN)},
      {"yes", Value::boolean(true)},
      {"list", Value::list(std::vector<Value>{Value::integer(3), Value::integer(1)})},
      {"d", dict_of({{"b", Value::integer(2)}, {"a", Value::integer(1)}})},
      {"add_generation_prompt", Value::boolean(true)},
  });
}

void run(std::string_view source) {
  const auto parsed = Template::parse(source);
  if (!parsed.ok()) {
    ASSERT(!parsed.error().message.empty(), "an error without a message");
    return;
  }
  static const Value kGlobals = globals();
  const RenderOptions options{.now_unix_s = 1721984703,
                              .output_bytes_max = 1 << 20,
                              .steps_max = 100'000,
                              .depth_max = 300};
  const auto first = parsed->render(kGlobals, options);
  const auto second = parsed->render(kGlobals, options);
  ASSERT(first.ok() == second.ok(), "one of two equal renderings fails");
  if (first.ok()) {
    ASSERT(*first == *second, "two equal renderings differ");
    ASSERT(first->size() <= (1U << 20), "{} bytes", first->size());
  } else {
    ASSERT(first.error().message == second.error().message, "'{}'", first.error().message);
  }
}

}  // namespace
}  // namespace sluice::jinja

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::jinja::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
