// Shapes of models that are made in a moment.
#pragma once

#include "plan/geometry.h"

namespace sluice::quantize {

inline plan::Geometry small_qwen3moe() {
  plan::Geometry g = plan::find_geometry("qwen3-8b").value();
  g.architecture = "qwen3moe";
  g.layers = 4;
  g.hidden = 256;
  g.heads = 4;
  g.kv_heads = 2;
  g.head_dim = 64;
  g.vocab = 64;
  g.experts = {.count = 16, .used = 4, .ffn = 128};
  return g;
}

}  // namespace sluice::quantize
