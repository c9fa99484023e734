// A checkpoint rewritten as one GGUF file with other element types, tensor by tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "quantize/recipe.h"

namespace sluice::quantize {

struct ConvertOptions {
  std::string path;  // of the new file; "PATH.partial" until it is whole
  Recipe recipe;
  // Pairs beside the source's, e.g. a vocabulary that lies in other files.
  std::function<core::Result<void>(formats::GgufWriter*)> add_metadata{};
  std::function<void(int64_t done_values, int64_t total_values)> progress{};
};

// What became of a tensor.
struct ConvertedTensor {
  std::string name;
  core::DType from = core::DType::kF32;
  TypeChoice choice;
  int64_t columns = 0;
  int64_t values = 0;
  int64_t bytes = 0;
};

struct ConvertReport {
  std::vector<ConvertedTensor> tensors;
  int64_t resumed_tensors = 0;  // that an earlier run had written already
  int64_t file_bytes = 0;
};

// The types of all tensors, nothing written: in the order of the new file (layers in order).
core::Result<std::vector<ConvertedTensor>> plan_conversion(const formats::Checkpoint& source,
                                                           const Recipe& recipe);

// Streams: memory is a few MiB a thread beside one tensor of the source. An interrupted
// run is taken up where its tensors still have the checksums it noted. The result is the same bytes
// whatever the threads and interruptions. An Error names the tensor and what is wrong with its
// values: not finite, or too large for 16-bit floats.
core::Result<ConvertReport> convert(const formats::Checkpoint& source,
                                    const ConvertOptions& options, core::ThreadPool& pool);

}  // namespace sluice::quantize
