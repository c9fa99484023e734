// sluice bench report: one load through the engine and through the server, written down so that it
// can be repeated.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>

#include "apps/bench/kinds.h"
#include "apps/bench/report_measure.h"
#include "apps/bench/report_server.h"
#include "apps/model/command_text.h"

namespace sluice::apps {
namespace {

struct Options {
  ReportOptions report;
  std::string to = "sluice-report";
  bool leaves_out_server = false;
  bool recalibrate = false;
  std::string output = "text";
};

// The model's options as they were given, MODEL left out: what `serve` runs it with too.
std::vector<std::string> given_model_words(const CLI::App& app) {
  CLI::App of_model;
  ModelOptions unused;
  add_model_options(of_model, &unused);
  of_model.set_help_flag();
  std::vector<std::string> words;
  for (const CLI::Option* known : of_model.get_options()) {
    const CLI::Option* option = app.get_option(known->get_name());
    if (known->get_positional() || option->count() == 0) continue;
    words.push_back(option->get_name());
    if (option->get_items_expected_max() > 0) words.push_back(option->results().front());
  }
  return words;
}

std::string title_of(const Options& options, const ReportModel& model) {
  const ReportLoad& load = options.report.load;
  return fmt::format("{}{}: {} tokens in, {} out, {} streams",
                     model.is_synthetic ? "Synthetic weights, not a trained model: " : "",
                     model.name, load.input_tokens, load.output_tokens,
                     fmt::join(options.report.stream_counts, ", "));
}

// Found out before minutes of measuring, not behind them.
core::Result<void> check_folder(const std::string& to) {
  const auto parent = std::filesystem::path(to).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return {};
  return core::Error{core::ErrorCode::kIo, fmt::format("cannot write '{}.md': folder '{}': {}", to,
                                                       folder, std::strerror(errno))};
}

core::Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) return core::Error{core::ErrorCode::kIo, fmt::format("cannot write '{}'", path)};
  return {};
}

// What the server did not do, without the rest of the report being lost.
core::Result<void> check_served(const ReportServer& server) {
  if (!server.fault.empty()) return core::invalid("over HTTP: {}", server.fault);
  for (const ServerRow& row : server.rows)
    if (row.failed > 0)
      return core::invalid("over HTTP: {} of {} requests failed, the first: {}", row.failed,
                           row.requests, row.first_failure);
  return {};
}

core::Result<void> run(const CLI::App& app, const Options& options, std::string command) {
  TRY(check_folder(options.to));
  Report report{.date = fmt::format("{:%Y-%m-%d %H:%M}", fmt::gmtime(std::time(nullptr))),
                .version = SLUICE_VERSION,
                .command = std::move(command)};
  report.load = options.report.load;
  TRY(measure_engine(options.report, &report));
  report.title = title_of(options, report.model);
  if (options.leaves_out_server)
    report.server.note = "Left out (--no-http).";
  else
    report.server = measure_server({.model = options.report.benched.model.model,
                                    .model_options = given_model_words(app),
                                    .load = options.report.load,
                                    .stream_counts = options.report.stream_counts,
                                    .kv_token_bytes = report.model.kv_token_bytes});
  const std::string json = report_json(report), markdown = report_markdown(report);
  TRY(write_file(options.to + ".json", json + "\n"));
  TRY(write_file(options.to + ".md", markdown));
  fmt::print("{}\n", options.output == "json" ? json : markdown);
  fmt::print(stderr, "written to {0}.md and {0}.json\n", options.to);
  return check_served(report.server);
}

void add_load_options(CLI::App& app, ReportOptions* options) {
  app.add_option("-p,--n-prompt", options->load.input_tokens, "tokens of each prompt")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-n,--n-gen", options->load.output_tokens, "tokens of each answer")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--streams", options->stream_counts, "requests at once, a row for each number")
      ->capture_default_str()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  app.add_option("-r,--repeats", options->load.repeats, "repetitions, of which medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("-b,--step-tokens", options->load.step_tokens,
                 "tokens of one step, of one prompt too")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--temperature", options->load.temperature, "of the sampling; 0: greedy")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 2.0));
}

}  // namespace

int run_bench_report(int argc, char** argv) {
  Options options;
  CLI::App app{
      "A report that can be repeated, as Markdown and JSON: the machine with its measured limits,\n"
      "the model and where it lies, time to the first token cold and with a cached prefix, time\n"
      "per token, tokens per second and the share of the limits, by part of a step; then the same\n"
      "load over HTTP where the model has a vocabulary.",
      "sluice bench report"};
  add_benched_model_options(app, &options.report.benched);
  add_load_options(app, &options.report);
  app.add_flag("--recalibrate", options.recalibrate, "measure the machine's limits anew");
  app.add_flag("--no-http", options.leaves_out_server, "leave the server out");
  app.add_option("--to", options.to, "path of the report, without .md and .json")
      ->capture_default_str();
  add_output_option(app, &options.output);
  app.footer(
      "Examples: sluice bench report model.gguf --streams 1,4 --to report\n"
      "          sluice bench report --synth deepseek-v3 --layers 7 --device cuda \\\n"
      "              --place experts=cpu,rest=cuda -b 2048");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  if (options.recalibrate) options.report.roof = RoofSource::kMeasure;
  std::vector<std::string> words = {"sluice", "bench"};
  words.insert(words.end(), argv, argv + argc);
  const auto done = run(app, options, command_text(words));
  return done.ok() ? 0 : report("bench report", done.error());
}

}  // namespace sluice::apps
