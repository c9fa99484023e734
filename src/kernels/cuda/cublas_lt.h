// Wide matrix products by cuBLASLt, which is opened at run time: a machine may have a card and a
// driver without it.
#pragma once

#include <cstdint>
#include <memory>

#include "core/result.h"

struct CUstream_st;

namespace sluice::kernels::cuda {

// y (rows, outputs) = x (rows, inputs) · weights (outputs, inputs)^T; x and weights are bf16, and
// f16 where the result is.
struct WideProduct {
  const uint16_t* weights = nullptr;
  const uint16_t* x = nullptr;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t rows = 0;
  enum class Into : uint8_t { kFloat, kFloatAdd, kBf16, kF16 } into = Into::kFloat;
  void* y = nullptr;
};

class CublasLt {
 public:
  // An Error says which library was looked for.
  static core::Result<std::unique_ptr<CublasLt>> open();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  static constexpr int64_t kWorkspaceBytes = 64 << 20;

  // Queues the product. The first of a shape chooses among the library's algorithms.
  void multiply(const WideProduct& product, std::byte* workspace, CUstream_st* stream);

 private:
  struct State;
  explicit CublasLt(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice::kernels::cuda
