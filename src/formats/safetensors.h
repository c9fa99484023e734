// One safetensors file: a JSON table of tensors before their bytes.
// Format: docs/safetensors of Hugging Face. A sharded checkpoint is joined by hugging_face.h.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "formats/byte_source.h"
#include "formats/gguf.h"
#include "formats/problems.h"

namespace sluice::formats {

inline constexpr int64_t kSafetensorsHeaderBytesMax = 100'000'000;

struct SafetensorsFile {
  std::unique_ptr<ByteSource> source;  // owns what the views below point into
  int64_t header_bytes = 0;            // length field and JSON
  std::deque<std::string> names;       // what the tensors' names are views of
  std::vector<NamedTensor> tensors;    // in the order of the header
  std::vector<std::string_view> lost;  // names of the others: cut off, or described wrongly
};

// Malformed JSON is an Error of its own; else everything wrong with the tensors is listed: unknown
// or unsupported dtypes, shapes, lengths, bounds, overlaps, holes, duplicates. A tensor has at
// least one value, at most core::kTensorDimsMax dimensions, and begins on a multiple of its
// element's size.
core::Result<SafetensorsFile> read_safetensors(std::unique_ptr<ByteSource> source);
// The tensors that can be read; what is wrong with the others goes to the problems, which are empty
// before. An Error where the header is malformed.
core::Result<SafetensorsFile> read_safetensors(std::unique_ptr<ByteSource> source,
                                               Problems* problems);

}  // namespace sluice::formats
