// A file that is written in pieces and becomes visible under its name when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/result.h"

namespace sluice::formats {

// Lies beside the final name as "PATH.partial" until publish(). What an earlier, interrupted run
// left there is kept: read() it to go on from it. One writer at a time: the file is locked.
class OutputFile {
 public:
  static core::Result<std::unique_ptr<OutputFile>> open(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& partial_path() const { return partial_path_; }
  core::Result<int64_t> size_bytes() const;
  // Grows with zeros or cuts.
  core::Result<void> resize(int64_t bytes);
  core::Result<void> write(int64_t offset, std::span<const std::byte> bytes);
  // An Error where the range is not all there.
  core::Result<void> read(int64_t offset, std::span<std::byte> out) const;
  // Everything is on the disk, then takes its name, replacing what had it.
  core::Result<void> publish();

 private:
  OutputFile(std::string path, int descriptor);
  core::Error failed(const char* what) const;

  const std::string path_;
  const std::string partial_path_;
  const int descriptor_;
};

}  // namespace sluice::formats
