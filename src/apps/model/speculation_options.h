// --speculation: where guesses of the next tokens come from.
#pragma once

#include <string>

#include "core/result.h"
#include "engine/speculation.h"
#include "model/model.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice::apps {

struct SpeculationOptions {
  std::string name = "auto";  // off, ngram or mtp

  engine::Speculation kind() const;
  // What it needs loaded.
  model::DraftLayers draft_layers() const;
};

CLI::Option* add_speculation_option(CLI::App& app, SpeculationOptions* options);

// An Error where mtp was asked for and the loaded model has no draft layer.
core::Result<void> check_speculation(const SpeculationOptions& options, const model::Model& model,
                                     const std::string& model_path);

}  // namespace sluice::apps
