// One view of a checkpoint, whatever files it lies in: metadata and tensors by name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"
#include "formats/gguf.h"
#include "formats/manifest.h"

namespace sluice::formats {

class Checkpoint {
 public:
  // MODEL as a command line gives it: a GGUF file, or any part of a split one
  // ("name-00002-of-00005.gguf"); every other part lies beside it.
  static core::Result<std::unique_ptr<Checkpoint>> open(const std::string& model);
  // Joined from files already read, the first holding the metadata. `names` are for messages.
  static core::Result<std::unique_ptr<Checkpoint>> join(std::vector<GgufFile> files,
                                                        std::vector<std::string> names);

  const Manifest& manifest() const { return manifest_; }
  const Metadata& metadata() const { return files_.front().metadata; }

  // Null where there is no such tensor. Views live as long as the checkpoint.
  const core::TensorView* find(std::string_view tensor) const;
  const std::map<std::string_view, core::TensorView>& tensors() const { return tensors_; }

  // The tensor's pages leave resident memory (a copy was made); its view stays valid.
  void release(const core::TensorView& view) const;

 private:
  Checkpoint() = default;
  core::Result<void> index_tensors();

  std::vector<GgufFile> files_;
  std::map<std::string_view, core::TensorView> tensors_;
  Manifest manifest_;
};

}  // namespace sluice::formats
