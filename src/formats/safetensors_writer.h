// The header of a safetensors file, and where its tensors lie; the bytes are the caller's to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sluice::formats {

class SafetensorsWriter {
 public:
  // A pair of "__metadata__".
  void set_text(std::string_view key, std::string_view value);
  void add_tensor(std::string_view name, core::DType type, std::span<const int64_t> shape);

  // Tensors follow the header without holes, larger elements first, so that each is aligned.
  struct Layout {
    std::vector<std::byte> header;
    std::vector<int64_t> offsets;  // in the file, by the order of add_tensor()
    int64_t file_bytes = 0;
  };
  Layout layout() const;

 private:
  struct Tensor {
    std::string name;
    core::DType type;
    std::vector<int64_t> shape;
    int64_t bytes;
  };
  std::vector<std::pair<std::string, std::string>> texts_;
  std::vector<Tensor> tensors_;
};

}  // namespace sluice::formats
