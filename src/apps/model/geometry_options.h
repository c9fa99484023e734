// A published model's shapes by name, and what may differ from them.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "plan/geometry.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct GeometryOptions {
  std::string name;
  int32_t layers = 0;         // 0: the model's
  int32_t dense_layers = -1;  // leading ones without experts; -1: the model's
  int32_t vocab = 0;          // 0: the model's
  int32_t expert_count = 0;   // of a layer; 0: the model's
  bool has_draft_layer = false;
};

// GEOMETRY and the options below.
void add_geometry_options(CLI::App& app, GeometryOptions* options);
// --layers, --dense-layers, --vocab, --expert-count alone.
void add_shape_options(CLI::App& app, GeometryOptions* options);
// --draft-layer, where weights are made.
void add_draft_layer_option(CLI::App& app, GeometryOptions* options);

core::Result<plan::Geometry> read_geometry(const GeometryOptions& options);

// Names for help texts.
std::string geometry_names();

}  // namespace sluice::apps
