// The tensors that a GGUF file of a checkpoint holds, whatever the checkpoint's own form. A GGUF
// file gives its tensors as they are. Of a Hugging Face folder
//   the experts of a layer become one tensor (experts, rows, columns),
//   the joined key-value matrix of latent attention becomes attn_k_b (heads, rank, nope) and
//   attn_v_b (heads, value, rank),
//   q and k of the llama architecture have their rows in the order of adjacent pairs,
//   matrices of several tensors (FP8, INT8, INT4, MXFP4) are put together, and draft layers are
//   left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "model/stored_matrix.h"

namespace sluice::quantize {

struct TensorSource {
  std::string name;
  core::TensorView shape;                   // of the new tensor, with the type it joins to; no data
  std::vector<model::StoredMatrix> pieces;  // one below the other, of equal shape
  int64_t turned_head_rows = 0;             // not 0: rows of a head, from halves to adjacent pairs
};

// An Error lists every expert or part that is missing.
core::Result<std::vector<TensorSource>> tensor_sources(const formats::Checkpoint& checkpoint);

// The checkpoint's metadata but what describes the old file's types and parts.
void copy_metadata(const formats::Checkpoint& checkpoint, formats::GgufWriter* writer);

// Rows of a tensor as floats; may be used by several threads.
class RowReader {
 public:
  explicit RowReader(const TensorSource& source);
  void read(int64_t row, float* out) const;  // (columns)

 private:
  const TensorSource& source_;
  const int64_t piece_rows_;
  std::vector<float> transposed_;  // the whole tensor where its rows are columns of the stored one
};

}  // namespace sluice::quantize
