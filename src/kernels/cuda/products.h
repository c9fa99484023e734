// Linear layers on a card: which kernel a product takes, and the library for wide ones.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cuda/cublas_lt.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/rows_by_codes.cuh"
#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// What products write between their kernels, on the card.
struct ProductScratch {
  std::byte* workspace = nullptr;  // CublasLt::kWorkspaceBytes; or sums of rows_by_codes.cuh
  uint32_t* counters = nullptr;    // (kCodeCounters), zero between ops
  uint16_t* normed = nullptr;      // bf16 (rows, inputs)
  uint16_t* gate = nullptr;        // bf16 (rows, outputs)
  uint16_t* up = nullptr;          // bf16 (rows, outputs)
  uint16_t* decoded = nullptr;     // bf16: a matrix kept in blocks
};

class Products {
 public:
  // `stream` outlives this.
  Products(std::unique_ptr<CublasLt> library, const Queue& stream)
      : library_(std::move(library)), stream_(stream) {}

  void use(const ProductScratch& scratch, const DeviceLimits& limits) {
    scratch_ = scratch;
    is_deterministic_ = limits.is_deterministic;
    tile_looks_ = limits.tile_looks;
  }
  void linear(const DeviceLinearArgs& args);
  void multiply(const WideProduct& product);
  CublasLt& library() { return *library_; }

 private:
  void linear_wide(const DeviceLinearArgs& args);
  bool rows_from_blocks(const DeviceLinearArgs& args, const uint16_t* x);
  bool groups_by_codes(const DeviceLinearArgs& args, const uint16_t* x);
  const uint16_t* as_bf16(const PackedWeights& weights);
  CodeScratch code_scratch() const {
    return {reinterpret_cast<float*>(scratch_.workspace), scratch_.counters, tile_looks_};
  }

  const std::unique_ptr<CublasLt> library_;
  const Queue& stream_;
  ProductScratch scratch_;
  bool is_deterministic_ = false;
  int32_t tile_looks_ = 0;
};

}  // namespace sluice::kernels::cuda
