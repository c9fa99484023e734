#include "apps/terminal/help_formatter.h"

#include <memory>
#include <string_view>

namespace sluice::apps {
namespace {

constexpr size_t kColumnsMax = 100;

// Lines of at most `columns`, longer words alone.
std::string wrapped(std::string_view text, size_t columns) {
  std::string lines;
  size_t length = 0;  // of the last one
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    const bool fits = length == 0 || length + 1 + end <= columns;
    if (!lines.empty()) lines += fits ? ' ' : '\n';
    length = fits && length > 0 ? length + 1 + end : end;
    lines += text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

// "INT:INT in [0 - 9]" is "INT in [0 - 9]", "TEXT:{a,b}" is "{a,b}".
std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  std::string text = CLI::Formatter::make_option_opts(option);
  const std::string type = option->get_type_name();
  const size_t colon = type.find(':');
  const size_t at = text.find(type);
  if (colon != std::string::npos && at != std::string::npos) text.erase(at, colon + 1);
  return text;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return wrapped(option->get_description(), kColumnsMax - get_column_width());
}

void format_help(CLI::App& app) {
  app.formatter(std::make_shared<HelpFormatter>());
  for (CLI::App* verb : app.get_subcommands({})) format_help(*verb);
}

}  // namespace sluice::apps
