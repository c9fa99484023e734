// Models of random weights as Hugging Face folders.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/result.h"
#include "formats/checkpoint.h"
#include "plan/geometry.h"
#include "quantize/folder_recipe.h"

namespace sluice::quantize {

struct FolderSynthesis {
  std::string path;  // of the folder
  FolderRecipe recipe;
  double router_skew = 0;
  uint64_t seed = 1;
  int64_t shard_bytes_max = 5'000'000'000;
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress{};
};

// Writes shards, index and config.json, no tokenizer; the shards' bytes in all. As synthesize(),
// the bytes are a function of geometry and options, and encoded weights are a pattern of a million
// random values that each tensor enters at its own place. What no type is asked for is BF16.
core::Result<int64_t> synthesize_folder(const plan::Geometry& geometry,
                                        const FolderSynthesis& options);

// The same model without files, in a fraction of its memory: parts of a format share their
// pattern's bytes. `path` is not used.
core::Result<std::unique_ptr<formats::Checkpoint>> synthetic_folder(const plan::Geometry& geometry,
                                                                    const FolderSynthesis& options);

}  // namespace sluice::quantize
