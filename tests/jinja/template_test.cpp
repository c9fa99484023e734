// What goldens cannot show: positions of errors, error codes, the clock, threads.
#include "jinja/template.h"

#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::jinja {
namespace {

using core::ErrorCode;
using ::testing::HasSubstr;

Value dict_of(std::vector<std::pair<std::string, Value>> entries) {
  Dict dict;
  for (auto& [key, value] : entries) dict.set(std::move(key), std::move(value));
  return Value::dict(std::move(dict));
}

core::Result<std::string> render(std::string_view source, const RenderOptions& options = {}) {
  const Template parsed = TRY(Template::parse(source));
  return parsed.render(dict_of({{"name", Value::string("Ann")}}), options);
}

void expect_error(std::string_view source, ErrorCode code, std::string_view message) {
  const auto result = render(source);
  ASSERT_FALSE(result.ok()) << source << " gave " << *result;
  EXPECT_EQ(result.error().code, code) << source << ": " << result.error().message;
  EXPECT_THAT(result.error().message, HasSubstr(message)) << source;
}

TEST(Template, SyntaxErrorsNameLineAndColumn) {
  const struct {
    std::string_view source, message;
  } cases[] = {
      {"{{ 1 + }}", "line 1, column 8: unexpected end of print statement"},
      {"a\nb {{ (1 }}", "line 2, column 9: unexpected '}', expected ')'"},
      {"\n\n{% if x %}", "line 3, column 11: unexpected end of template, 'endif' is missing"},
      {"{% iff x %}", "line 1, column 4: unknown tag 'iff'"},
      {"{{ 'abc }}", "line 1, column 4: the string does not end"},
      {"x {# y", "line 1, column 5: missing end of comment tag"},
      {"{{ 99999999999999999999 }}", "line 1, column 4: the integer does not fit into 64 bits"},
      {"a\r\nb\r{{ ? }}", "line 3, column 4: unexpected character '?'"},
      {"{% break %}", "line 1, column 4: 'break' outside of a loop"},
      {"\n{{ 1|nosuch }}", "line 2: no filter named 'nosuch'"},
      {"\n{{ 1 is nosuch }}", "line 2: no test named 'nosuch'"},
      {"{{ 1 is random }}", "line 1: no test named 'random'"},
  };
  for (const auto& [source, message] : cases) expect_error(source, ErrorCode::kInvalid, message);
}

TEST(Template, ConstructsOfJinjaThatAreMissingHereSaySo) {
  for (const std::string tag : {"include", "import", "from", "extends", "block", "autoescape"}) {
    expect_error("\n{% " + tag + " 'x' %}", ErrorCode::kUnsupported,
                 "line 2, column 4: the tag '" + tag + "' is not supported");
  }
  for (const std::string filter :
       {"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"}) {
    expect_error("{{ 1|" + filter + " }}", ErrorCode::kUnsupported,
                 "line 1, column 6: the filter '" + filter + "' is not supported");
    // At load, also where no conversation may ever get to.
    const auto in_a_branch = Template::parse("{% if false %}\n{{ 1 | " + filter + " }}{% endif %}");
    ASSERT_FALSE(in_a_branch.ok()) << filter;
    EXPECT_EQ(in_a_branch.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(in_a_branch.error().message,
                HasSubstr("line 2, column 8: the filter '" + filter + "' is not supported"));
  }
}

TEST(Template, RuntimeErrorsNameTheLine) {
  expect_error("\n\n{{ nothing.at_all }}", ErrorCode::kUnsupported,
               "line 3: 'nothing' is undefined");
  expect_error("{% macro m() %}\n{{ name.x.y }}{% endmacro %}\n\n{{ m() }}",
               ErrorCode::kUnsupported, "line 2: 'str object' has no attribute 'x'");
  expect_error("{{ 1 +\n 'a' }}", ErrorCode::kUnsupported, "unsupported operand type(s) for +");
}

TEST(Template, AnErrorKeptForLaterDoesNotHideTheLineOfAnother) {
  expect_error("{% set lazy = [1]|map('nosuch') %}\n\n{{ name.x.y }}", ErrorCode::kUnsupported,
               "line 3: ");
}

TEST(Template, RaisedMessagesComeOutUnchanged) {
  const auto result =
      render("\n{% if name == 'Ann' %}{{ raise_exception('no “Ann”!\\n') }}{% endif %}");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(result.error().message, "no “Ann”!\n");
}

TEST(Template, TheClockIsAParameter) {
  const RenderOptions summer{.now_unix_s = 1721984703, .utc_offset_s = 2 * 3600};
  EXPECT_EQ(*render("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}", summer), "2024-07-26 11:05:03");
  EXPECT_EQ(*render("{{ strftime_now('%d %b %Y') }}"), "01 Jan 1970");
  const RenderOptions past{.now_unix_s = 0, .utc_offset_s = -3600};
  EXPECT_EQ(*render("{{ strftime_now('%H') }}", past), "23");
}

TEST(Template, GlobalsThatAreNoDictAreJustEmpty) {
  const auto parsed = Template::parse("{{ x is defined }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->render(Value(), {}), "False");
  EXPECT_EQ(*parsed->render(Value::none(), {}), "False");
}

// Here jinja2 goes on: its generator keeps the variables of the macro, ours are gone by then.
TEST(Template, ALoopThatHasEndedHasNoMoreItems) {
  EXPECT_EQ(*render("{% set ns = namespace() %}"
                    "{% macro m(limit) %}{% for x in [1, 2, 3] if x < limit %}"
                    "{% set ns.loop = loop %}{% break %}{% endfor %}{% endmacro %}"
                    "{{ m(9) }}{{ ns.loop.length }} {{ ns.loop.last }}"),
            "1 True");
}

TEST(Template, MalformedUtf8PassesThrough) {
  const auto parsed = Template::parse(
      "{{ x }}{{ x|length }}{{ x[1:] }}{{ x|upper|length }}{{ [x]|string|length }}");
  ASSERT_TRUE(parsed.ok());
  const auto text = parsed->render(dict_of({{"x", Value::string("\xff\x80"
                                                                "a\xc3")}}),
                                   {});
  ASSERT_TRUE(text.ok());
  EXPECT_TRUE(
      text->starts_with("\xff\x80"
                        "a\xc3"
                        "3"
                        "a\xc3"));
}

// Everything that a rendering changes is its own. The thread sanitizer's preset runs this, too.
TEST(Template, RendersInSeveralThreadsAtOnce) {
  const auto parsed = Template::parse(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for i in range(50) %}{% set ns.n = ns.n + i %}{{ m(name ~ ns.n) }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  const Value globals = dict_of({{"name", Value::string("n")}});
  const std::string expected = *parsed->render(globals, {});
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) text = *parsed->render(globals, {});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, expected);
}

}  // namespace
}  // namespace sluice::jinja
