// Writes GGUF version 3, little-endian: the reader's counterpart for tests and conversions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "formats/metadata.h"

namespace sluice::formats {

class GgufWriter {
 public:
  static constexpr int64_t kAlignmentBytes = 32;

  void set_integer(std::string_view key, uint32_t value);
  void set_number(std::string_view key, float value);
  void set_flag(std::string_view key, bool value);
  void set_text(std::string_view key, std::string_view value);
  void set_texts(std::string_view key, std::span<const std::string> values);
  void set_numbers(std::string_view key, std::span<const float> values);
  void set_integers(std::string_view key, std::span<const int32_t> values);
  // Any value of another file but its general.alignment: this one is aligned to kAlignmentBytes.
  void copy(std::string_view key, const MetadataValue& value);

  // The data may be null where only header() is wanted; it must live until file() is done.
  void add_tensor(std::string_view name, const core::TensorView& view);

  // Where the next pair will lie in the file.
  int64_t metadata_end_bytes() const;

  // Magic to the end of the tensor table, padded: tensor data follows in the order of
  // add_tensor(), each padded to the alignment.
  std::vector<std::byte> header() const;
  std::vector<std::byte> file() const;

 private:
  struct Tensor {
    std::string name;
    core::TensorView view;
  };
  void begin_pair(std::string_view key, ValueType type);
  void begin_array(std::string_view key, ValueType element, size_t count);

  uint64_t pairs_ = 0;
  std::vector<std::byte> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace sluice::formats
