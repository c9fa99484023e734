// What a checkpoint's tensors will become in memory: the plan of WeightLoader::load(), and what
// both of its ends (weights.cpp, device_upload.cpp) do with it.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "formats/problems.h"
#include "kernels/device_weights.h"
#include "model/arch/architecture.h"
#include "model/stored_matrix.h"
#include "model/weights.h"

namespace sluice::model {

struct PlannedMatrix {
  std::string tensor;
  StoredMatrix stored;
  Matrix* matrix = nullptr;
  double token_share = 1;
  Widen widen = Widen::kNo;
  std::optional<int32_t> experts_of{};  // the layer, of routed experts; not of a draft layer's
  kernels::DeviceUse use = kernels::DeviceUse::kProduct;
  core::Range inputs{};  // that are kept, whole blocks; empty: all of them

  bool has_all_inputs() const { return inputs.begin == inputs.end; }
  int64_t inputs_kept() const {
    return has_all_inputs() ? stored.inputs() : inputs.end - inputs.begin;
  }
  int64_t file_bytes() const { return stored.bytes * inputs_kept() / stored.inputs(); }
};

struct PlannedVector {
  std::string tensor;
  core::TensorView view;
  Vector* vector = nullptr;
};

// The matrix where it lies, or assembled in `scratch`: (outputs, inputs) in its type.
const std::byte* blocks_of(const StoredMatrix& stored, core::ThreadPool& pool,
                           std::vector<std::byte>* scratch);

inline constexpr int64_t kNoRow = std::numeric_limits<int64_t>::max();

void add_not_finite(const WeightLoader& loader, const std::string& tensor, int64_t row,
                    formats::Problems* problems);

// Scales of formats of several tensors were looked at when they were found.
bool check_finite(const WeightLoader& loader, const std::string& tensor, const StoredMatrix& stored,
                  formats::Problems* problems);

}  // namespace sluice::model
