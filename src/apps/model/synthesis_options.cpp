#include "apps/model/synthesis_options.h"

#include <CLI/CLI.hpp>

#include "apps/model/number_checks.h"
#include "quantize/folder_recipe.h"
#include "quantize/synthesize.h"

namespace sluice::apps {
namespace {

core::Result<core::DType> type_of(const std::string& name) {
  const auto type = core::dtype_from_name(name);
  if (!type)
    return core::unsupported("type '{}', expected one of {}", name,
                             quantize::synthesizable_types());
  return *type;
}

}  // namespace

void add_weight_type_options(CLI::App& app, WeightTypeOptions* options) {
  app.add_option("--type", options->rest,
                 "type of all matrices but the experts; in a file " +
                     quantize::synthesizable_types() + "; in a folder " +
                     quantize::folder_type_names())
      ->capture_default_str();
  app.add_option("--experts", options->experts,
                 "type of the routed experts; Q4_0, in a folder --type");
  app.add_option("--output-matrix", options->output_matrix, "type of the output matrix (--type)");
  app.add_option("--router-skew", options->router_skew,
                 "Zipf's exponent of how popular experts are; 0: all alike")
      ->check(CLI::Range(0.0, 4.0))
      ->check(finite_number());
  app.add_option("--seed", options->seed, "the same seed gives the same bytes")
      ->capture_default_str();
}

bool means_folder(const WeightTypeOptions& options) {
  const auto is_folders_alone = [](const std::string& type) {
    return quantize::is_folder_type(type) && !core::dtype_from_name(type);
  };
  return is_folders_alone(options.rest) || is_folders_alone(options.experts);
}

core::Result<quantize::FolderSynthesis> folder_synthesis(const WeightTypeOptions& options) {
  quantize::FolderSynthesis synthesis{
      .path = {},
      .recipe = quantize::folder_recipe(TRY(quantize::find_folder_type(options.rest))),
      .router_skew = options.router_skew,
      .seed = options.seed};
  auto& modules = synthesis.recipe.modules;
  if (!options.experts.empty())
    modules[static_cast<size_t>(quantize::Module::kExperts)] =
        TRY(quantize::find_folder_type(options.experts));
  if (!options.output_matrix.empty())
    modules[static_cast<size_t>(quantize::Module::kOutput)] =
        TRY(quantize::find_folder_type(options.output_matrix));
  return synthesis;
}

core::Result<quantize::SynthesisOptions> synthesis_options(const WeightTypeOptions& options) {
  quantize::SynthesisOptions synthesis;
  synthesis.rest = TRY(type_of(options.rest));
  synthesis.experts = TRY(type_of(options.experts.empty() ? "Q4_0" : options.experts));
  synthesis.output =
      TRY(type_of(options.output_matrix.empty() ? options.rest : options.output_matrix));
  synthesis.router_skew = options.router_skew;
  synthesis.seed = options.seed;
  return synthesis;
}

}  // namespace sluice::apps
