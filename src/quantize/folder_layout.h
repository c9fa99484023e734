// Where the tensors of a folder's matrices lie: which parts a matrix has, and in which shard.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "formats/safetensors_writer.h"
#include "quantize/folder_recipe.h"

namespace sluice::quantize {

// A tensor of the folder: `unit_bytes` for every `unit_rows` rows of its matrix.
struct FolderPart {
  std::string name;
  core::DType type = core::DType::kF32;
  std::vector<int64_t> shape;
  int64_t unit_rows = 1;
  int64_t unit_bytes = 0;
  int64_t bytes = 0;
  size_t shard = 0;
  size_t place = 0;    // in the shard
  int64_t offset = 0;  // in its file
};

struct MatrixSize {
  int64_t rows = 0;
  int64_t columns = 0;
};
// Of a plain tensor, or one part of a matrix of so many rows.
FolderPart plain_part(std::string name, core::DType type, std::vector<int64_t> shape, int64_t rows);
// Codes first, then scales, then what else there is. Not for kAsStored.
std::vector<FolderPart> quantized_parts(const std::string& name, const FolderChoice& choice,
                                        MatrixSize size);

struct FolderShard {
  std::string file;
  formats::SafetensorsWriter::Layout layout;  // its header has checksums of zeros
  std::vector<FolderPart*> parts;             // in the order of the header
  int64_t checksums_offset = 0;

  int64_t digits_offset(const FolderPart& part) const;
};
// Deals the parts of each matrix to one shard, in their order, and lays the shards out.
// parts_of_matrices live as long as the result.
std::vector<FolderShard> lay_out_shards(std::span<std::vector<FolderPart>* const> parts_of_matrices,
                                        int64_t shard_bytes_max);

// Where the text of checksums begins in a header; negative where there is none.
int64_t find_checksums(std::span<const std::byte> header);

}  // namespace sluice::quantize
