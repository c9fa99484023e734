// jinja_render: renders chat templates for comparisons with jinja2 (tools/peers/chat_templates.py).
// Reads lines of {"template": …, "context": …, "now": unix seconds} from stdin and writes one line
// {"output": …} or {"error": …, "code": …} for each.
#include <iostream>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "jinja/template.h"
#include "tests/jinja/json_value.h"

namespace {

using sluice::jinja::RenderOptions;
using sluice::jinja::Template;

nlohmann::ordered_json answer_of(const sluice::core::Error& error) {
  constexpr const char* kCodes[] = {"invalid", "unsupported", "not_found", "limit", "io"};
  return {{"error", error.message}, {"code", kCodes[static_cast<size_t>(error.code)]}};
}

nlohmann::ordered_json render(const nlohmann::ordered_json& job) {
  const auto parsed = Template::parse(job.at("template").get<std::string>());
  if (!parsed.ok()) return answer_of(parsed.error());
  const RenderOptions options{.now_unix_s = job.value("now", int64_t{0})};
  const auto text = parsed->render(sluice::jinja::value_from_json(job.at("context")), options);
  if (!text.ok()) return answer_of(text.error());
  return {{"output", *text}};
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto job = nlohmann::ordered_json::parse(line);
    std::cout << render(job).dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace)
              << '\n';
  }
}
