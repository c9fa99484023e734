// Where a checkpoint's bytes come from. Only this folder sees a path or a mapped pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace sluice::formats {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual int64_t size_bytes() const = 0;
  // Fills `out` from `offset`; an Error when the range is not all there.
  virtual core::Result<void> read(int64_t offset, std::span<std::byte> out) const = 0;
  // Everything, addressable; valid as long as the source.
  virtual std::span<const std::byte> bytes() const = 0;
  // A hint that the range is not needed soon: its memory goes back to the system and is read again
  // on the next access.
  virtual void release(std::span<const std::byte> range) const = 0;
};

// A file, mapped read-only.
core::Result<std::unique_ptr<ByteSource>> map_file(const std::string& path);

// Bytes in memory, for tests and fuzzing.
std::unique_ptr<ByteSource> memory_source(std::vector<std::byte> bytes);

}  // namespace sluice::formats
