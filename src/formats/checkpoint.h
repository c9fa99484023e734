// One view of a checkpoint, whatever files it lies in: metadata and tensors by GGUF's names.
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
#include "formats/hugging_face.h"
#include "formats/manifest.h"

namespace sluice::formats {

class Checkpoint {
 public:
  // MODEL as a command line gives it: a GGUF file, or any part of a split one
  // ("name-00002-of-00005.gguf"), every other part beside it; or a Hugging Face folder.
  static core::Result<std::unique_ptr<Checkpoint>> open(const std::string& model);
  // Joined from files already read, the first holding the metadata. `names` are for messages.
  static core::Result<std::unique_ptr<Checkpoint>> join(std::vector<GgufFile> files,
                                                        std::vector<std::string> names);
  static core::Result<std::unique_ptr<Checkpoint>> of_folder(HuggingFaceFolder folder);

  const Manifest& manifest() const { return manifest_; }
  const Metadata& metadata() const { return files_.front().metadata; }

  // Null where there is no such tensor. Views live as long as the checkpoint.
  const core::TensorView* find(std::string_view tensor) const;
  const std::map<std::string_view, core::TensorView>& tensors() const { return tensors_; }

  // The tensor's name in its file, for messages.
  std::string stored_name(std::string_view tensor) const;

  // The tensor's pages leave resident memory (a copy was made); its view stays valid.
  void release(const core::TensorView& view) const;

 private:
  Checkpoint() = default;
  core::Result<void> index_tensors();
  std::vector<GgufFile> files_;
  std::unique_ptr<HuggingFaceFolder> folder_;
  std::map<std::string_view, core::TensorView> tensors_;
  Manifest manifest_;
};

}  // namespace sluice::formats
