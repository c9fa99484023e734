// How --help looks: at most 100 columns wide, types without CLI11's second word for them.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace sluice::apps {

class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

// Of the app and its subcommands.
void format_help(CLI::App& app);

}  // namespace sluice::apps
