// Every case of tests/data/jinja/*.json renders as Python's jinja2 rendered it
// (tools/make_jinja_goldens.py).
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "jinja/template.h"
#include "tests/jinja/json_value.h"

namespace sluice::jinja {
namespace {

const std::string kData = std::string(SLUICE_TESTS_DIR) + "/data/jinja/";

std::string read_file(const std::string& name) {
  std::ifstream file(kData + name);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// A case holds its template, or names a file of tests/data/jinja/templates.
std::string template_of(const nlohmann::ordered_json& golden) {
  if (golden.contains("template")) return golden.at("template");
  return read_file("templates/" + golden.at("file").get<std::string>());
}

void expect_golden(const nlohmann::ordered_json& golden, const core::Result<std::string>& actual) {
  SCOPED_TRACE(golden.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  if (golden.contains("expected")) {
    ASSERT_TRUE(actual.ok()) << actual.error().message;
    EXPECT_EQ(*actual, golden.at("expected").get<std::string>());
    return;
  }
  ASSERT_FALSE(actual.ok()) << *actual;
  if (!golden.contains("raised")) return;
  EXPECT_EQ(actual.error().code, core::ErrorCode::kInvalid);
  EXPECT_EQ(actual.error().message, golden.at("raised").get<std::string>());
}

// Checks one file, returns the number of its cases.
int64_t check(const std::string& name) {
  const auto file = nlohmann::ordered_json::parse(read_file(name));
  std::vector<Value> contexts;
  for (const auto& context : file.at("contexts")) contexts.push_back(value_from_json(context));
  const RenderOptions options{.now_unix_s = file.at("now").get<int64_t>()};
  for (const auto& golden : file.at("cases")) {
    const auto parsed = Template::parse(template_of(golden));
    const Value& context = contexts.at(golden.at("context").get<size_t>());
    expect_golden(golden, parsed.ok() ? parsed->render(context, options)
                                      : core::Result<std::string>(parsed.error()));
  }
  return static_cast<int64_t>(file.at("cases").size());
}

TEST(JinjaGoldens, ExpressionsRenderAsInPython) {
  EXPECT_GE(check("expressions.json"), 7500);
}
TEST(JinjaGoldens, StatementsRenderAsInPython) {
  EXPECT_GE(check("statements.json"), 350);
}
TEST(JinjaGoldens, ChatTemplatesRenderAsInPython) {
  EXPECT_GE(check("chat.json"), 400);
}

}  // namespace
}  // namespace sluice::jinja
