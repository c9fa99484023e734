#include "apps/model/speculation_options.h"

#include <CLI/CLI.hpp>

namespace sluice::apps {

engine::Speculation SpeculationOptions::kind() const {
  if (name == "off") return engine::Speculation::kOff;
  if (name == "ngram") return engine::Speculation::kNgram;
  return name == "mtp" ? engine::Speculation::kMtp : engine::Speculation::kAuto;
}

model::DraftLayers SpeculationOptions::draft_layers() const {
  const bool may_use_them =
      kind() == engine::Speculation::kAuto || kind() == engine::Speculation::kMtp;
  return may_use_them ? model::DraftLayers::kLoad : model::DraftLayers::kLeave;
}

CLI::Option* add_speculation_option(CLI::App& app, SpeculationOptions* options) {
  return app
      .add_option("--speculation", options->name,
                  "guesses of the next tokens, verified together: from the text itself (ngram), by "
                  "the model's draft layer (mtp), by what it has and what pays (auto), or off")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "off", "ngram", "mtp"}));
}

core::Result<void> check_speculation(const SpeculationOptions& options, const model::Model& model,
                                     const std::string& model_path) {
  if (options.kind() == engine::Speculation::kMtp && !model.has_drafts())
    return core::invalid("--speculation mtp: '{}' has no draft layer; ngram needs none",
                         model_path);
  return {};
}

}  // namespace sluice::apps
