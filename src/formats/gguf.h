// One GGUF file, versions 2 and 3, little-endian.
// Specification: docs/gguf.md of ggml. Parts of a split checkpoint are joined by checkpoint.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "formats/byte_source.h"
#include "formats/metadata.h"
#include "formats/problems.h"

namespace sluice::formats {

// Limits that hold before anything is allocated; the file's size bounds the rest.
inline constexpr int64_t kMetadataKeyBytesMax = 65'535;
inline constexpr int64_t kTensorNameBytesMax = 1'024;

struct NamedTensor {
  std::string_view name;  // in the source
  core::TensorView view;  // row-major, data in the source
};

struct GgufFile {
  std::unique_ptr<ByteSource> source;  // owns what the views below point into
  uint32_t version = 0;
  int64_t header_bytes = 0;  // magic to the end of the tensor table
  Metadata metadata;
  std::vector<NamedTensor> tensors;    // in the order of the table
  std::vector<std::string_view> lost;  // names of the others: cut off, or described wrongly
};

// Any malformation is an Error naming the field. Up to the tensor table it is the first one; the
// problems of the table (unknown types, shapes, overlaps, bounds, duplicates) are listed
// together (formats/problems.h: all are counted, the first 50 listed).
core::Result<GgufFile> read_gguf(std::unique_ptr<ByteSource> source);
// The tensors that can be read; the problems of the table go to `problems`, empty before.
core::Result<GgufFile> read_gguf(std::unique_ptr<ByteSource> source, Problems* problems);

}  // namespace sluice::formats
