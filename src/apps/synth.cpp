// sluice synth GEOMETRY OUT: a model of random weights at the shapes of a published one.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/model/byte_size.h"
#include "apps/model/geometry_options.h"
#include "apps/model/model_options.h"
#include "apps/model/synthesis_options.h"
#include "apps/terminal/progress.h"
#include "apps/verbs.h"
#include "quantize/synthesize.h"
#include "quantize/synthesize_folder.h"

namespace sluice::apps {
namespace {

struct Options {
  GeometryOptions geometry;
  std::string out;
  WeightTypeOptions weights;
  bool folder = false;
  std::string output = "text";
};

core::Result<int64_t> write_file(const plan::Geometry& geometry, const Options& options,
                                 Progress* progress) {
  quantize::SynthesisOptions synthesis = TRY(synthesis_options(options.weights));
  synthesis.path = options.out;
  synthesis.progress = [&](int64_t done, int64_t total) { progress->update(done, total); };
  return quantize::synthesize(geometry, synthesis);
}

core::Result<int64_t> write_folder(const plan::Geometry& geometry, const Options& options,
                                   Progress* progress) {
  quantize::FolderSynthesis synthesis = TRY(folder_synthesis(options.weights));
  synthesis.path = options.out;
  synthesis.progress = [&](int64_t done, int64_t total) { progress->update(done, total); };
  return quantize::synthesize_folder(geometry, synthesis);
}

core::Result<void> run(const Options& options) {
  const plan::Geometry geometry = TRY(read_geometry(options.geometry));
  const bool makes_folder = options.folder || means_folder(options.weights);
  if (makes_folder && options.out.ends_with(".gguf"))
    return core::invalid("'{}' names a file; these types are of a folder{}", options.out,
                         options.folder ? " (--folder)" : "");
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
  add_draft_layer_option(app, &options.geometry);
  app.add_option("OUT", options.out,
                 "GGUF file to write, or folder where a type is of folders alone or with --folder")
      ->required();
  app.add_flag("--folder", options.folder,
               "a folder also of types that files have too: BF16, F16, F32, MXFP4");
  add_weight_type_options(app, &options.weights);
  add_output_option(app, &options.output);
  app.footer("Example: sluice synth deepseek-v3 v3.gguf --layers 4 --experts Q4_0 --type Q8_0");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = run(options);
  return done.ok() ? 0 : report("synth", done.error());
}

}  // namespace sluice::apps
