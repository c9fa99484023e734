// The tensors that a GGUF file of a checkpoint holds, or a Hugging Face folder, whatever the
// checkpoint's own form. A GGUF file gives a GGUF file's tensors as they are. Of a folder
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

// Llama's q and k: rows of a head that turn together are adjacent in GGUF files, in two halves in
// folders.
enum class Turn : uint8_t { kNone, kHalvesToPairs, kPairsToHalves };

struct TensorSource {
  std::string name;
  core::TensorView shape;                   // of the new tensor, with the type it joins to; no data
  std::vector<model::StoredMatrix> pieces;  // one below the other
  Turn turn = Turn::kNone;
  int64_t head_rows = 0;  // where rows turn

  // The matrix where it lies as it is to be; null where it must be assembled.
  const std::byte* in_place() const;
};

// An Error lists every expert or part that is missing.
core::Result<std::vector<TensorSource>> tensor_sources(const formats::Checkpoint& checkpoint);

// The way back: the matrices that a folder of the checkpoint holds, by GGUF's names
// ("blk.3.ffn_up_exps.17.weight"). Of a GGUF file experts come one by one, attn_k_b and attn_v_b
// are joined, and llama's rows are turned back. An Error names what a folder has no place for.
core::Result<std::vector<TensorSource>> folder_sources(const formats::Checkpoint& checkpoint);

// The checkpoint's metadata but what describes the old file's types and parts.
void copy_metadata(const formats::Checkpoint& checkpoint, formats::GgufWriter* writer);

// Rows of a tensor as floats; may be used by several threads.
class RowReader {
 public:
  explicit RowReader(const TensorSource& source);
  void read(int64_t row, float* out) const;  // (columns)

 private:
  struct Piece {
    const model::StoredMatrix* matrix = nullptr;
    int64_t first_row = 0;
    std::vector<float>
        transposed{};  // the whole piece where its rows are columns of the stored one
  };
  const TensorSource& source_;
  std::vector<Piece> pieces_;
};

// Rows [first, first + count) have been read: their pages leave resident memory.
struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
};
void release_rows(const formats::Checkpoint& checkpoint, const TensorSource& source, RowRange rows);

}  // namespace sluice::quantize
