// One view of a checkpoint, whatever files it lies in: metadata and tensors by GGUF's names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
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
  // What is left of a broken one, to be looked at, and everything that is wrong with its files and
  // its configuration, which is open()'s Error. Null where nothing can be read.
  struct Remains;
  static Remains salvage(const std::string& model);
  // Joined from files already read, the first holding the metadata. `names` are for messages.
  static core::Result<std::unique_ptr<Checkpoint>> join(std::vector<GgufFile> files,
                                                        std::vector<std::string> names);
  static core::Result<std::unique_ptr<Checkpoint>> of_folder(HuggingFaceFolder folder);

  const Manifest& manifest() const { return manifest_; }
  const Metadata& metadata() const { return files_.front().metadata; }

  // Null where there is no such tensor. Views live as long as the checkpoint.
  const core::TensorView* find(std::string_view tensor) const;
  const std::map<std::string_view, core::TensorView>& tensors() const { return tensors_; }

  // Of what was salvaged. Lost: a tensor that may be in a file that cannot be read.
  bool is_lost(std::string_view tensor) const {
    return is_part_lost_ || lost_.find(tensor) != lost_.end();
  }
  // Most tensors that it may have had when it was whole.
  int64_t tensors_max() const {
    constexpr int64_t kOfLostParts = 1 << 16;
    return std::ssize(tensors_) + std::ssize(lost_) + (is_part_lost_ ? kOfLostParts : 0);
  }
  const ConfigFaults& config_faults() const { return config_faults_; }

  // The tensor's name in its file, for messages.
  std::string stored_name(std::string_view tensor) const;

  // The tensor's pages leave resident memory (a copy was made); its view stays valid.
  void release(const core::TensorView& view) const;

 private:
  Checkpoint() = default;
  static Remains salvage_folder(const std::string& path);
  static Remains salvage_files(const std::string& model);
  static core::Result<std::unique_ptr<Checkpoint>> assemble(std::vector<GgufFile> files,
                                                            std::vector<std::string> names);
  core::Result<void> index_tensors();
  std::vector<GgufFile> files_;
  std::unique_ptr<HuggingFaceFolder> folder_;
  std::map<std::string_view, core::TensorView> tensors_;
  Manifest manifest_;
  std::set<std::string, std::less<>> lost_;
  bool is_part_lost_ = false;  // of a split GGUF file: nobody knows what it had
  ConfigFaults config_faults_;
};

struct Checkpoint::Remains {
  std::unique_ptr<Checkpoint> checkpoint;
  Problems problems;
  std::string where;  // goes before them; empty where each says it

  core::Error error() const;
};

}  // namespace sluice::formats
