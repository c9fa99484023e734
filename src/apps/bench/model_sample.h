// A stand-in for a model that takes a fraction of its memory and runs at its speed per layer.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "apps/model/checkpoint_matrices.h"
#include "core/result.h"
#include "formats/checkpoint.h"
#include "model/spec.h"

namespace sluice::apps {

struct ModelSample {
  std::vector<CheckpointMatrix> matrices;  // of the whole; the sample's tensors have their names
  std::unique_ptr<formats::Checkpoint> checkpoint;
  int32_t layers = 0;
};

// The metadata, shapes and types of `checkpoint` with random weights and the first layers only: as
// many as take `layer_bytes` in the file, at least four and two with experts, at most all. Of
// several tensors that make a matrix (`matrices_of()`) only scales are read, of others none.
core::Result<ModelSample> sample_model(const formats::Checkpoint& checkpoint,
                                       const model::Spec& spec, int64_t layer_bytes);

}  // namespace sluice::apps
