// What `sluice bench` measures: a model from files, or random weights at a published model's
// shapes.
#pragma once

#include <cstdint>

#include "apps/model/geometry_options.h"
#include "apps/model/model_options.h"
#include "apps/model/synthesis_options.h"
#include "core/result.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct BenchedModelOptions {
  ModelOptions model;
  GeometryOptions synth;  // instead of a model, where it has a name
  WeightTypeOptions weights;

  bool is_synthetic() const { return !synth.name.empty(); }
};

// MODEL and its options, --synth and what belongs to it. It is wrong usage to give neither, both,
// or a shape or a type without --synth. Takes the app's callback.
void add_benched_model_options(CLI::App& app, BenchedModelOptions* options);

// As open_model(); random weights are made in memory.
core::Result<OpenedModel> open_benched_model(const BenchedModelOptions& options,
                                             int32_t step_tokens_max, int64_t kv_tokens);

}  // namespace sluice::apps
