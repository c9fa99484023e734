// sluice simulate SCENARIO.toml: the platform's own decisions on a virtual clock, beside arms that
// decide otherwise (docs/simulate.md).
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/model/model_options.h"
#include "apps/verbs.h"
#include "core/result.h"
#include "simulate/report.h"

namespace sluice::apps {
namespace {

struct Options {
  std::string scenario;
  std::string output = "text";
  std::string csv;
  std::string svg;
};

core::Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return core::Error{core::ErrorCode::kIo, fmt::format("{}: cannot be read", path)};
  return text.str();
}

core::Result<void> write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return {};
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return core::Error{core::ErrorCode::kIo, fmt::format("{}: cannot be written", path)};
  return {};
}

core::Result<void> run_scenario(const Options& options) {
  const std::string text = TRY(read_file(options.scenario));
  const std::filesystem::path folder = std::filesystem::path(options.scenario).parent_path();
  const simulate::Scenario scenario =
      TRY(simulate::parse_scenario(text, options.scenario, [&](const std::string& path) {
        return read_file((folder / path).string());
      }));
  const auto figures = TRY(simulate::simulate(scenario));
  TRY(write_file(options.csv, simulate::to_csv(figures)));
  TRY(write_file(options.svg, simulate::to_svg(scenario, figures)));
  fmt::print("{}", options.output == "json" ? simulate::to_json(scenario, figures) + "\n"
                                            : simulate::to_table(scenario, figures));
  return {};
}

}  // namespace

int run_simulate(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Simulates a day of traffic in seconds: the gateway's own limits, routing, valve and ledger\n"
      "on a virtual clock, in front of modelled engines, beside other ways to decide.",
      "sluice simulate"};
  app.add_option("SCENARIO", options.scenario, "a TOML file, such as deploy/scenarios/burst.toml")
      ->required();
  app.add_option("--csv", options.csv, "write the figures over time to this file");
  app.add_option("--svg", options.svg, "draw them into this file");
  add_output_option(app, &options.output);
  app.footer("Example: sluice simulate deploy/scenarios/burst.toml --svg burst.svg");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = run_scenario(options);
  if (!done.ok()) return report("simulate", done.error());
  return 0;
}

}  // namespace sluice::apps
