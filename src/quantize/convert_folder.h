// A checkpoint rewritten as a Hugging Face folder with its linear layers in 4 or 8 bits, in the
// conventions that compressed-tensors and transformers read: shards with an index, config.json with
// its quantization_config, and the other files of a source that is a folder as they are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "quantize/folder_recipe.h"

namespace sluice::quantize {

struct FolderOptions {
  std::string source;  // the folder or file that the checkpoint was opened from
  std::string path;    // the folder to write
  FolderRecipe recipe;
  // Writes files that the source does not have as such, e.g. a vocabulary that lies in a GGUF file.
  std::function<core::Result<void>(const std::string& folder)> add_files{};
  int64_t shard_bytes_max = 5'000'000'000;  // of tensors; a larger tensor has a shard of its own
  std::function<void(int64_t done_values, int64_t total_values)> progress{};
};

// What became of a matrix or vector.
struct FolderTensor {
  std::string name;  // as stored, "….weight"
  core::DType from = core::DType::kF32;
  FolderChoice choice;
  int64_t columns = 0;
  int64_t values = 0;
  int64_t bytes = 0;
};

struct FolderReport {
  std::vector<FolderTensor> tensors;
  int64_t resumed_tensors = 0;
  int64_t bytes = 0;
};

// Nothing written.
core::Result<std::vector<FolderTensor>> plan_folder(const formats::Checkpoint& source,
                                                    const FolderRecipe& recipe);

// Streams: memory is a few bands of 128 rows a thread. Interrupted, it is taken up where tensors
// still have the checksums (XXH3, in each shard's "__metadata__") that were noted. The same bytes
// whatever the threads and interruptions. config.json comes last: a folder without one is not
// whole.
core::Result<FolderReport> convert_folder(const formats::Checkpoint& source,
                                          const FolderOptions& options, core::ThreadPool& pool);

// Reads every shard of a folder made by convert_folder(). An Error lists the tensors that are not
// what was written.
core::Result<void> verify_folder(
    const std::string& folder,
    const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress);

}  // namespace sluice::quantize
