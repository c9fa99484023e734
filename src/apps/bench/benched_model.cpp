#include "apps/bench/benched_model.h"

#include <CLI/CLI.hpp>

#include "quantize/synthesize.h"

namespace sluice::apps {
namespace {

core::Result<std::unique_ptr<formats::Checkpoint>> open_checkpoint(
    const BenchedModelOptions& options) {
  if (!options.is_synthetic()) return model::open_checkpoint(options.model.model);
  const plan::Geometry geometry = TRY(read_geometry(options.synth));
  if (means_folder(options.weights)) {
    const quantize::FolderSynthesis folder = TRY(folder_synthesis(options.weights));
    return quantize::synthetic_folder(geometry, folder);
  }
  const quantize::SynthesisOptions synthesis = TRY(synthesis_options(options.weights));
  return quantize::synthetic_checkpoint(geometry, synthesis);
}

}  // namespace

void add_benched_model_options(CLI::App& app, BenchedModelOptions* options) {
  add_model_options(app, &options->model);
  app.get_option("MODEL")->required(false);
  auto* synth =
      app.add_option("--synth", options->synth.name,
                     "instead of MODEL, random weights made in memory: one of " + geometry_names())
          ->excludes("MODEL");
  const size_t others = app.get_options().size();
  add_shape_options(app, &options->synth);
  add_draft_layer_option(app, &options->synth);
  add_weight_type_options(app, &options->weights);
  const std::vector<CLI::Option*> all = app.get_options();
  for (size_t i = others; i < all.size(); ++i) all[i]->needs(synth);
  app.callback([options] {
    if (options->model.model.empty() && !options->is_synthetic())
      throw CLI::RequiredError("MODEL or --synth GEOMETRY");
  });
}

core::Result<OpenedModel> open_benched_model(const BenchedModelOptions& options,
                                             int32_t step_tokens_max, int64_t kv_tokens) {
  return open_model(options.model, TRY(open_checkpoint(options)), step_tokens_max, kv_tokens);
}

}  // namespace sluice::apps
