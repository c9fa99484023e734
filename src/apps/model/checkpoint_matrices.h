// A checkpoint's matrices and vectors, each as one tensor: in a folder of 4-bit and 8-bit weights
// codes, scales and zeros are tensors of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "formats/checkpoint.h"

namespace sluice::apps {

struct CheckpointMatrix {
  std::string name;       // GGUF's
  core::TensorView view;  // of the blocks that it becomes at load; its data may be null
  int64_t file_bytes = 0;
  bool is_draft = false;  // of a layer of multi-token prediction
};

// N of "blk.N.…"; -1 for tensors of no layer.
int32_t layer_of(std::string_view tensor);

// Biases that are all zero, which GPTQ's writers give every module, are passed over where the
// architecture does not need them. An Error lists every matrix that lacks a part.
core::Result<std::vector<CheckpointMatrix>> matrices_of(const formats::Checkpoint& checkpoint);

}  // namespace sluice::apps
