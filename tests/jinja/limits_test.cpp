// Hostile templates end with an Error: no hang, no stack overflow, no memory without end.
#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "jinja/template.h"

namespace sluice::jinja {
namespace {

using core::ErrorCode;
using ::testing::HasSubstr;

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// The error that the template ends with, under limits that are reached soon.
core::Error render_error(const std::string& source) {
  const RenderOptions options{.output_bytes_max = 1 << 22, .steps_max = 300'000};
  const auto parsed = Template::parse(source);
  const auto text =
      parsed.ok() ? parsed->render(Value(), options) : core::Result<std::string>(parsed.error());
  EXPECT_FALSE(text.ok()) << source.substr(0, 200) << " gave " << text->size() << " bytes";
  return text.ok() ? core::Error{ErrorCode::kIo, ""} : text.error();
}

ErrorCode render_code(const std::string& source) {
  return render_error(source).code;
}

TEST(Limits, LoopsEnd) {
  const std::string nested =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  EXPECT_EQ(render_code(nested), ErrorCode::kLimit);
  EXPECT_EQ(render_code(
                "{% for x in 'a' * 1000000 %}{% for y in 'b' * 1000000 %}{% endfor %}{% endfor %}"),
            ErrorCode::kLimit);
}

TEST(Limits, TextDoesNotGrowWithoutEnd) {
  const char* const sources[] = {
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x|replace('a', "
      "ns.x) %}{% endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.join([ns.x] * 9) "
      "%}{% endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = '%s%s'|format(ns.x, "
      "ns.x) %}{% endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = '{0}{0}'.format(ns.x) "
      "%}{% endfor %}",
      "{{ 'a' * 9223372036854775807 }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '%.999999999f' % 1 }}",
      "{{ '{:>999999999}'.format('a') }}",
      "{{ 'a'.center(999999999999) }}",
      "{{ 'a'.zfill(999999999999) }}",
      "{{ '\\t'.expandtabs(999999999999) }}",
      "{{ 'a'|center(999999999999) }}",
      "{{ 'a'|indent(999999999999, true) }}",
      "{{ [1]|tojson(indent=999999999999) }}",
      "{{ strftime_now('%c' * 9999999) }}",
      "{{ '%*.*s' % (9223372036854775807, 9223372036854775807, 'a') }}",
      "{{ '%*d' % (-9223372036854775807 - 1, 1) }}",
      "{{ '%.*f' % (9223372036854775807, 1.5) }}",
      "{{ 'éé\\t'.expandtabs(9223372036854775807) }}",
      "{{ 'a'.center(9223372036854775807) }}",
      "{{ 'a'.ljust(9223372036854775807, 'é') }}",
      "{{ 'a'.rjust(9223372036854775807) }}",
      "{{ '-1'.zfill(9223372036854775807) }}",
      "{{ 'a'|center(9223372036854775807) }}",
      "{{ 'a\\nb'|indent(9223372036854775807) }}",
      "{{ [1]|tojson(indent=9223372036854775807) }}",
      "{{ '{:9223372036854775807}'.format('a') }}",
      "{{ '{:>{}}'.format('a', 9223372036854775807) }}",
      "{{ '{:.9223372036854775807f}'.format(1.5) }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}{% endfor %}"
      "{{ ns.x|tojson(indent=1000000) }}",
      "{{ ('a' * 4000000)|replace('', 'b' * 4000000) }}",
      "{% for i in range(100000) %}{{ 'abcdefghij' * 100 }}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = ns.x + ['a' * "
      "100000] %}{% endfor %}",
  };
  for (const char* source : sources) EXPECT_EQ(render_code(source), ErrorCode::kLimit) << source;
}

TEST(Limits, TheOutputLimitIsExact) {
  const auto parsed = Template::parse("{{ 'a' * 10 }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->render(Value(), {.output_bytes_max = 10})->size(), 10U);
  const auto over = parsed->render(Value(), {.output_bytes_max = 9});
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code, ErrorCode::kLimit);
  EXPECT_EQ(over.error().message, "line 1: the template makes more than 9 bytes of text");
}

TEST(Limits, TheOutputLimitHoldsForTextThatIsNotPrinted) {
  for (const std::string text :
       {"'a' * 11", "'aaaaaa' + 'aaaaaa'", "'aaaaaa' ~ 'aaaaaa'", "'aaaaaa'.replace('a', 'bb')",
        "['aaaaaaa']|join|indent(9, true)"}) {
    const auto parsed = Template::parse("{% set x = " + text + " %}");
    ASSERT_TRUE(parsed.ok());
    EXPECT_TRUE(parsed->render(Value(), {.output_bytes_max = 100}).ok()) << text;
    EXPECT_FALSE(parsed->render(Value(), {.output_bytes_max = 10}).ok()) << text;
  }
}

TEST(Limits, ListsDoNotGrowWithoutEnd) {
  const char* const sources[] = {
      ("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
       "endfor %}"),
      "{{ [1] * 9223372036854775807 }}",
      "{{ range(100001) }}",
      "{{ range(-9223372036854775807, 9223372036854775807) }}",
      "{{ [1]|batch(9223372036854775807, 0)|list }}",
      "{{ [1]|slice(9223372036854775807)|list }}",
      "{{ range(9223372036854775807) }}",
      "{{ range(-9223372036854775807 - 1, 9223372036854775807) }}",
      "{{ 9223372036854775807 * [1] }}",
  };
  for (const char* source : sources) EXPECT_EQ(render_code(source), ErrorCode::kLimit) << source;
}

std::string render(const std::string& source, const RenderOptions& options = {}) {
  const auto parsed = Template::parse(source);
  if (!parsed.ok()) return "error: " + parsed.error().message;
  const auto text = parsed->render(Value(), options);
  return text.ok() ? *text : "error: " + text.error().message;
}

// Integers at the ends of 64 bits, where they are no error: as Python, where it can count so far.
TEST(Limits, ExtremeIntegersAreCounted) {
  const std::string least = "(-9223372036854775807 - 1)";
  const std::string most = "9223372036854775807";
  const std::pair<std::string, std::string> rows[] = {
      {"'a'.center(" + least + ")", "a"},
      {"'a'.ljust(" + least + ")", "a"},
      {"'a'.rjust(" + least + ")", "a"},
      {"'-a'.zfill(" + least + ")", "-a"},
      {"'a\tb'.expandtabs(" + least + ")", "ab"},
      {"'abc'|center(" + least + ")", "abc"},
      {"'a\nb'|indent(" + least + ")", "a\nb"},
      {"[1]|tojson(indent=" + least + ")", "[\n1\n]"},
      {"'a' * " + least, ""},
      {"[1] * " + least, "[]"},
      {"'' * " + most, ""},
      {"'abc'|truncate(" + most + ", leeway=" + most + ")", "abc"},
      {"'aXbXc'.split('X', " + most + ")", "['a', 'b', 'c']"},
      {"'aXbXc'.rsplit('X', " + least + ")", "['a', 'b', 'c']"},
      {"'aXb'.replace('X', '-', " + least + ")", "a-b"},
      {"'abc'.find('b', " + least + ", " + most + ")", "1"},
      {"'abc'.find('b', " + most + ")", "-1"},
      {"'abc'.startswith('a', " + least + ", " + least + ")", "False"},
      {"'abc'[" + least + ":" + most + "]", "abc"},
      {"'abc'[::" + most + "]", "a"},
      {"'abc'[::" + least + "]", "c"},
      {"[1, 2][" + least + "] is defined", "False"},
      {"[1, 2].index(2, " + least + ", " + most + ")", "1"},
      {"[1, 2]|batch(" + least + ")|list", "[[1, 2]]"},
      {"[1, 2]|batch(" + most + ")|list", "[[1, 2]]"},
      {"[1, 2]|slice(" + least + ")|list", "[]"},
      {"range(" + most + ", " + least + ")|list", "[]"},
      {"range(0, " + most + ", 5000000000000000000)[:]|list", "[0, 5000000000000000000]"},
      {"range(0, " + most + ", 5000000000000000000)[::2]|list", "[0]"},
      {"range(" + least + ", " + most + ", " + most + ")[::-1]|length", "3"},
      {least + "|round(-3)", "error: line 1: the integer result does not fit into 64 bits"},
      {most + "|round(-3)", "error: line 1: the integer result does not fit into 64 bits"},
      {most + "|round(-19)", "error: line 1: the integer result does not fit into 64 bits"},
      {"4999999999999999999|round(-19)", "0"},
      {"(-9223372036854775000)|round(-3)", "-9223372036854775000"},
      {"(-2500)|round(-3)", "-2000"},
      {"(-3500)|round(-3)", "-4000"},
      {most + "|round(" + least + ")", "0"},
      {"1.5|round(" + least + ")", "0.0"},
      {"1.5|round(" + most + ")", "1.5"},
      {"'-9223372036854775808'|int", "-9223372036854775808"},
      {"'%c' % 1114112", "error: line 1: %c arg not in range(0x110000)"},
  };
  for (const auto& [expression, expected] : rows) {
    EXPECT_EQ(render("{{ " + expression + " }}"), expected) << expression;
  }
}

// A negative width of "*" is a left adjustment, and no way out of the limit of steps.
TEST(Limits, NothingIsChargedBackwards) {
  EXPECT_EQ(render("{{ '%*d|' % (-3, 1) }}"), "1  |");
  const std::string loop = "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}";
  EXPECT_EQ(render_code(loop + "{% if '%*d' % (-9223372036854775807 - 1, 1) %}{% endif %}"
                               "{% endfor %}"),
            ErrorCode::kLimit);
}

// What is appended is charged, not the whole once more for each part.
TEST(Limits, GrowingATextCostsWhatIsAppended) {
  EXPECT_EQ(render("{{ (['abcdefgh'] * 5300)|tojson|length }}"), std::to_string(5300 * 12));
  EXPECT_EQ(render("{% set ns = namespace(t='') %}{% set m = 'a' * 100 %}{% for i in range(1000) %}"
                   "{% set ns.t = ns.t ~ m %}{% endfor %}{{ ns.t|length }}"),
            "100000");
  EXPECT_EQ(render("{{ ('%s' * 20000) % (('abcdefgh',) * 20000) | length }}").substr(0, 6),
            "error:");  // precedence: the filter first
  EXPECT_EQ(render("{{ (('%s' * 20000) % (('abcdefgh',) * 20000))|length }}"), "160000");
  EXPECT_EQ(render("{{ ('{0}' * 20000).format('abcdefgh')|length }}"), "160000");
}

// Each of these goes through a text of 1 MB and was free once.
TEST(Limits, GoingThroughATextIsCharged) {
  for (const std::string use :
       {"x|length", "x.startswith('b')", "x.endswith('b')", "x.startswith(('b', 'c'))",
        "x.islower()", "x.isupper()", "x.istitle()", "x.removeprefix('b')", "x.removesuffix('b')",
        "x.expandtabs()", "x.center(1)", "x.zfill(1)", "x|truncate(5000000)", "x|last", "x|int",
        "x|float", "'b'.strip(x)"}) {
    EXPECT_EQ(render_code("{% set x = 'a' * 1000000 %}{% for i in range(100) %}{% set y = " + use +
                          " %}{% endfor %}"),
              ErrorCode::kLimit)
        << use;
  }
}

// A text of one letter is the worst to look for a long one in.
TEST(Limits, LookingForALongTextIsCharged) {
  for (const std::string use : {"x.find(y)", "x.rfind(y)", "x.count(y)", "x.split(y)",
                                "x.rsplit(y)", "x.partition(y)", "x.replace(y, '')", "y in x"}) {
    EXPECT_EQ(
        render_code("{% set x = 'a' * 400000 %}{% set y = 'a' * 100000 ~ 'b' %}{{ " + use + " }}"),
        ErrorCode::kLimit)
        << use;
  }
}

TEST(Limits, WordsAreSplitFromTheRightInOnePass) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(render("{{ ('ab ' * 100000).rsplit()|length }}"), "100000");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 5);  // 0.01; a pass for each word: 30
  EXPECT_EQ(render("{{ ' a  é\u3000日 c '.rsplit(none, 2) }}"), "[' a  é', '日', 'c']");
  EXPECT_EQ(render("{{ 'ab'.rsplit() }}{{ ''.rsplit() }}{{ '  '.rsplit() }}"), "['ab'][][]");
}

// Ten levels of lists that share their parts have 10¹⁰ leaves.
TEST(Limits, SharedPartsAreNotWalkedThroughForever) {
  const std::string grow =
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"
      "{% set ns.x = [ns.x] * 9 %}{% set ns.y = [ns.y] * 9 %}{% endfor %}";
  for (const std::string use :
       {"{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}", "{{ ns.x }}", "{{ ns.x|tojson }}",
        "{{ ns.x|string|length }}", "{{ ns.x in [ns.y] }}", "{{ [ns.x, ns.y]|sort }}"}) {
    EXPECT_EQ(render_code(grow + use), ErrorCode::kLimit) << use;
  }
}

TEST(Limits, RecursionEnds) {
  const char* const sources[] = {
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
      "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
  };
  for (const char* source : sources) {
    EXPECT_THAT(render_error(source).message, HasSubstr("nests more than 1000 levels")) << source;
  }
}

// Each round of these nests a value once more.
TEST(Limits, ValuesNestOnlySoDeep) {
  const char* const rounds[] = {
      "{% set ns.x = [ns.x] %}",
      "{% set ns.x = (ns.x,) %}",
      "{% set ns.x = {'a': ns.x} %}",
      "{% set ns.x = [ns.x]|batch(1)|list %}",
      "{% set ns.x = dict(a=ns.x) %}",
      "{% macro m() %}{% set ns.x = kwargs %}{% endmacro %}{{ m(a=ns.x) }}",
      "{% macro m() %}{% set ns.x = varargs %}{% endmacro %}{{ m(ns.x) }}",
  };
  for (const std::string round : rounds) {
    const std::string source =
        "{% set ns = namespace(x=1) %}{% for i in range(1000) %}" + round + "{% endfor %}";
    EXPECT_THAT(render_error(source).message, HasSubstr("nested deeper than 200 levels")) << source;
  }
}

TEST(Limits, DeepNestingInTheSourceIsRefused) {
  constexpr int kDeep = 10'000;
  const std::pair<const char*, const char*> pairs[] = {
      {"(", ")"},   {"[", "]"},  {"{'a':", "}"}, {"-", ""},
      {"not ", ""}, {"f(", ")"}, {"x[", "]"},    {"1 if 1 else ", ""}};
  for (const auto& [open, close] : pairs) {
    const std::string source = "{{ " + repeated(open, kDeep) + "1" + repeated(close, kDeep) + " }}";
    EXPECT_EQ(render_code(source), ErrorCode::kLimit) << open;
  }
  for (const char* more : {" + 1", "|abs", ".a", "[0]", "(0)", " or 1", " ** 1", " if 1"}) {
    EXPECT_EQ(render_code("{{ 1" + repeated(more, kDeep) + " }}"), ErrorCode::kLimit) << more;
  }
  for (const char* block :
       {"{% if 1 %}", "{% for x in y %}", "{% with %}", "{% macro m() %}", "{% set x %}",
        "{% call m() %}", "{% filter upper %}", "{% generation %}"}) {
    EXPECT_EQ(render_code(repeated(block, kDeep)), ErrorCode::kLimit) << block;
  }
  EXPECT_EQ(render_code("{% set " + repeated("(", kDeep) + "x"), ErrorCode::kLimit);
}

// Wide is not deep.
TEST(Limits, LongTemplatesAreFine) {
  const std::string source = "{% if 0 %}" + repeated("{% elif 0 %}", 5000) +
                             "{% else %}x{% endif %}" + repeated("{{ 'ab' }}\n", 5000) + "{{ '' " +
                             repeated(" ~ 'c'", 5000) + " }}";
  const auto parsed = Template::parse(source);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const auto text = parsed->render(Value(), {});
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(text->size(), 1U + 5000 * 3 + 5000);
}

TEST(Limits, DeepVariablesAreRefused) {
  Value deep = Value::list(std::vector<Value>());
  for (int i = 0; i < 1000; ++i) deep = Value::list(std::vector<Value>{deep});
  Dict globals;
  globals.set("deep", deep);
  const auto parsed = Template::parse("{{ deep }}");
  ASSERT_TRUE(parsed.ok());
  const auto text = parsed->render(Value::dict(std::move(globals)), {});
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, ErrorCode::kLimit);
}

}  // namespace
}  // namespace sluice::jinja
