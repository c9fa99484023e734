#include "apps/model/geometry_options.h"

#include <CLI/CLI.hpp>

namespace sluice::apps {

void add_geometry_options(CLI::App& app, GeometryOptions* options) {
  app.add_option("GEOMETRY", options->name, "one of " + geometry_names())->required();
  add_shape_options(app, options);
}

void add_shape_options(CLI::App& app, GeometryOptions* options) {
  app.add_option("--layers", options->layers, "layers of a geometry, if not all")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--dense-layers", options->dense_layers,
                 "leading layers of a geometry without experts, if not the model's")
      ->check(CLI::Range(0, 10'000));
  app.add_option("--vocab", options->vocab, "vocabulary of a geometry, if not the model's")
      ->check(CLI::Range(32, 1 << 24));
  app.add_option(
         "--expert-count", options->expert_count,
         "routed experts of a geometry's layer, if not the model's: fewer take less memory, "
         "and a token reads as many")
      ->check(CLI::Range(1, 1 << 16));
}

void add_draft_layer_option(CLI::App& app, GeometryOptions* options) {
  app.add_flag("--draft-layer", options->has_draft_layer,
               "a geometry with a layer behind the others that guesses the token after the next "
               "(multi-token prediction)");
}

namespace {

core::Result<void> set_expert_count(const std::string& name, int32_t count,
                                    plan::Experts* experts) {
  if (experts->count == 0) return core::invalid("--expert-count: '{}' has no experts", name);
  const int32_t groups = std::max(experts->groups, 1);
  const int32_t open_groups = std::max(experts->groups_used, 1);
  if (count % groups != 0 || count / groups * open_groups < experts->used)
    return core::invalid(
        "--expert-count: {} experts, expected a multiple of {} groups of which {} hold at least {}",
        count, groups, open_groups, experts->used);
  experts->count = count;
  return {};
}

}  // namespace

core::Result<plan::Geometry> read_geometry(const GeometryOptions& options) {
  plan::Geometry geometry = TRY(plan::find_geometry(options.name));
  if (options.layers > 0) geometry.layers = options.layers;
  if (options.vocab > 0) geometry.vocab = options.vocab;
  if (options.dense_layers >= 0) {
    if (geometry.experts.count == 0)
      return core::invalid("--dense-layers: '{}' has no experts", options.name);
    geometry.experts.dense_layers = options.dense_layers;
  }
  if (options.expert_count > 0)
    TRY(set_expert_count(options.name, options.expert_count, &geometry.experts));
  if (options.has_draft_layer) {
    if (!geometry.has_latent_attention())
      return core::invalid("--draft-layer: '{}' has none", options.name);
    geometry.draft_layers = 1;
  }
  geometry.experts.dense_layers = std::min(geometry.experts.dense_layers, geometry.layers);
  return geometry;
}

std::string geometry_names() {
  std::string names;
  for (const plan::Geometry& g : plan::geometries())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", g.name);
  return names;
}

}  // namespace sluice::apps
