// Checksums of a file's tensors, kept in its own metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "formats/checkpoint.h"

struct XXH3_state_s;

namespace sluice::quantize {

// An array of texts, one for each tensor in the order of the tensor table: the XXH3-64 of its bytes
// as 16 hexadecimal digits.
inline constexpr std::string_view kChecksumsKey = "sluice.tensor_xxh3";
inline constexpr int64_t kChecksumDigits = 16;

class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(std::span<const std::byte> bytes);
  std::string digits() const;

 private:
  XXH3_state_s* const state_;
};

// Reads the whole file. An Error lists the tensors that are not what was written, or says that the
// file has no checksums.
core::Result<void> verify_checksums(
    const formats::GgufFile& file,
    const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress);

}  // namespace sluice::quantize
