#include "core/tensor.h"

#include <fmt/core.h>

namespace sluice::core {

std::string shape_text(const TensorView& view) {
  std::string text;
  for (int d = 0; d < view.dims; ++d)
    text += fmt::format("{}{}", d ? "×" : "", view.shape[static_cast<size_t>(d)]);
  return text.empty() ? "scalar" : text;
}

}  // namespace sluice::core
