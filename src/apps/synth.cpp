// sluice synth GEOMETRY OUT: a model of random weights at the shapes of a published one.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/model/byte_size.h"
#include "apps/model/geometry_options.h"
#include "apps/model/model_options.h"
#include "apps/terminal/progress.h"
#include "apps/verbs.h"
#include "quantize/encode.h"
#include "quantize/synthesize.h"
#include "quantize/synthesize_folder.h"

namespace sluice::apps {
namespace {

struct Options {
  GeometryOptions geometry;
  std::string out;
  std::string rest = "Q8_0", experts, output_matrix;
  double router_skew = 0;
  uint64_t seed = 1;
  std::string output = "text";
};

core::Result<core::DType> type_of(const std::string& name) {
  const auto type = core::dtype_from_name(name);
  if (!type)
    return core::unsupported("type '{}', expected one of {}", name, quantize::encodable_types());
  return *type;
}

core::Result<int64_t> write_file(const plan::Geometry& geometry, const Options& options,
                                 Progress* progress) {
  quantize::SynthesisOptions synthesis;
  synthesis.path = options.out;
  synthesis.rest = TRY(type_of(options.rest));
  synthesis.experts = TRY(type_of(options.experts.empty() ? "Q4_0" : options.experts));
  synthesis.output =
      TRY(type_of(options.output_matrix.empty() ? options.rest : options.output_matrix));
  synthesis.router_skew = options.router_skew;
  synthesis.seed = options.seed;
  synthesis.progress = [&](int64_t done, int64_t total) { progress->update(done, total); };
  return quantize::synthesize(geometry, synthesis);
}

core::Result<int64_t> write_folder(const plan::Geometry& geometry, const Options& options,
                                   Progress* progress) {
  const quantize::FolderType rest = TRY(quantize::find_folder_type(options.rest));
  quantize::FolderSynthesis synthesis{.path = options.out,
                                      .recipe = quantize::folder_recipe(rest),
                                      .router_skew = options.router_skew,
                                      .seed = options.seed};
  auto& modules = synthesis.recipe.modules;
  if (!options.experts.empty())
    modules[static_cast<size_t>(quantize::Module::kExperts)] =
        TRY(quantize::find_folder_type(options.experts));
  if (!options.output_matrix.empty())
    modules[static_cast<size_t>(quantize::Module::kOutput)] =
        TRY(quantize::find_folder_type(options.output_matrix));
  synthesis.progress = [&](int64_t done, int64_t total) { progress->update(done, total); };
  return quantize::synthesize_folder(geometry, synthesis);
}

core::Result<void> run(const Options& options) {
  const plan::Geometry geometry = TRY(read_geometry(options.geometry));
  const bool makes_folder =
      quantize::is_folder_type(options.rest) || quantize::is_folder_type(options.experts);
  Progress progress("writing");
  const int64_t bytes = TRY(makes_folder ? write_folder(geometry, options, &progress)
                                         : write_file(geometry, options, &progress));
  progress.finish();
  const int64_t parameters = plan::part_values(geometry).total();
  if (options.output == "json")
    fmt::print("{}\n", nlohmann::ordered_json({{"path", options.out},
                                               {"architecture", geometry.architecture},
                                               {"layers", geometry.layers},
                                               {"parameters", parameters},
                                               {"bytes", bytes}})
                           .dump());
  else
    fmt::print("{}: {}, {} layers, {:.2f} billion parameters, {}\n", options.out, geometry.name,
               geometry.layers, static_cast<double>(parameters) * 1e-9, byte_size_text(bytes));
  return {};
}

}  // namespace

int run_synth(int argc, char** argv) {
  Options options;
  CLI::App app{
      "A model of random weights at the shapes of a published one, as a GGUF file or a Hugging "
      "Face\n"
      "folder without a vocabulary: for benchmarks and tests of what is too large to have here.",
      "sluice synth"};
  add_geometry_options(app, &options.geometry);
  app.add_option("OUT", options.out, "GGUF file, or folder of int4, w8a8 and fp8, to write")
      ->required();
  app.add_option("--type", options.rest,
                 "type of all matrices but the experts; int4, w8a8, fp8 for a folder")
      ->capture_default_str();
  app.add_option("--experts", options.experts,
                 "type of the routed experts; Q4_0, in a folder --type");
  app.add_option("--output-matrix", options.output_matrix, "type of the output matrix (--type)");
  app.add_option("--router-skew", options.router_skew,
                 "Zipf's exponent of how popular experts are; 0: all alike")
      ->check(CLI::Range(0.0, 4.0));
  app.add_option("--seed", options.seed, "the same seed gives the same bytes")
      ->capture_default_str();
  add_output_option(app, &options.output);
  app.footer("Example: sluice synth deepseek-v3 v3.gguf --layers 4 --experts Q4_0 --type Q8_0");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = run(options);
  return done.ok() ? 0 : report("synth", done.error());
}

}  // namespace sluice::apps
