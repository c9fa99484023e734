#include "apps/model/checkpoint_matrices.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "formats/problems.h"
#include "model/arch/architecture.h"
#include "model/matrix_finder.h"

namespace sluice::apps {
namespace {

bool is_surplus_bias(std::string_view architecture, std::string_view name,
                     const core::TensorView& view) {
  const std::span bytes(view.data, static_cast<size_t>(view.bytes()));
  return name.ends_with(".bias") && view.dims == 1 && !model::needs_tensor(architecture, name) &&
         std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

core::Result<void> mark_drafts(const formats::Checkpoint& checkpoint,
                               std::vector<CheckpointMatrix>* matrices) {
  const std::string prefix = checkpoint.manifest().architecture + ".";
  const auto number = [&](const char* key) {
    return checkpoint.metadata().integer_or(prefix + key, 0);
  };
  const int64_t drafts = TRY(number("nextn_predict_layers"));
  const int64_t first = TRY(number("block_count")) - drafts;
  if (drafts > 0)
    for (CheckpointMatrix& m : *matrices) m.is_draft = layer_of(m.name) >= first;
  return {};
}

}  // namespace

int32_t layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor.starts_with(kPrefix)) return -1;
  int32_t layer = -1;
  std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

core::Result<std::vector<CheckpointMatrix>> matrices_of(const formats::Checkpoint& checkpoint) {
  formats::Problems problems;
  model::MatrixFinder finder(checkpoint, &problems);
  std::vector<CheckpointMatrix> matrices;
  for (const auto& [stored, view] : checkpoint.tensors()) {
    const auto name = model::MatrixFinder::matrix_of(stored);
    if (!name || is_surplus_bias(checkpoint.manifest().architecture, stored, view)) continue;
    if (core::decodes_alone(view.type)) {
      matrices.push_back({std::string(stored), view, view.bytes(), false});
      continue;
    }
    const auto matrix = finder.find(*name, finder.shape_by(stored));
    if (!matrix) continue;
    const bool is_sorted = matrix->sorted != core::DType::kF32;
    const core::TensorView joined{.type = is_sorted ? matrix->sorted : matrix->joined,
                                  .dims = 2,
                                  .shape = {matrix->rows, matrix->columns}};
    matrices.push_back({*name, joined, matrix->bytes, false});
  }
  if (!problems.empty()) return problems.error();
  TRY(mark_drafts(checkpoint, &matrices));
  return matrices;
}

}  // namespace sluice::apps
