// A thread of a step, and what its products read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"
#include "model/step.h"

namespace sluice::model {

// The forms that a product's input is packed in.
inline constexpr kernels::ActivationForm kPackedForms[] = {
    kernels::ActivationForm::kInt8, kernels::ActivationForm::kBf16,
    kernels::ActivationForm::kPlanes, kernels::ActivationForm::kWidePlanes,
    kernels::ActivationForm::kInt8Rows};

inline constexpr size_t kForms = kernels::kActivationForms;

// The inputs of products: what every thread reads, packed as the weights want it.
struct ForwardInputs {
  float* normed = nullptr;                  // (rows, hidden)
  float* activated = nullptr;               // (rows, ffn): silu(gate) · up; (rows, query rank)
  float* ordered = nullptr;                 // (rows, inputs), for a Matrix with an input order
  std::array<std::byte*, kForms> packed{};  // by form: the input of the products that come next
};

// Of rows that a thread has for itself: parts of what all share.
struct OwnRows {
  ForwardInputs inputs;
  ForwardInputs gated;
};

// A thread of the step under way.
struct ForwardWorker {
  int thread = 0;
  int threads = 1;
  // That go on, from first_row on: all, or, between meetings for attention, its own alone.
  int64_t rows = 0;
  int64_t first_row = 0;
  bool owns_rows = false;
  const ForwardInputs* inputs = nullptr;
  const ForwardInputs* gated = nullptr;
  int row_thread = 0;  // its share of row-wise work: of few rows each thread does all
  int row_threads = 1;
  int output_thread = 0;  // its share of the outputs of products
  int output_threads = 1;
  StepTimes* times = nullptr;
  int64_t lap_begin_ns = 0;
  uint64_t round = 0;  // of shared work

  // Its rows of x (rows, columns).
  float* at(float* x, int64_t columns) const { return x + first_row * columns; }
};

}  // namespace sluice::model
