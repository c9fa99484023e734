// The card with room for the shapes of tests of single ops, beside the reference device.
#pragma once

#include <gtest/gtest.h>

#include "tests/cuda/support.h"

namespace sluice::kernels {

inline constexpr DeviceLimits kOpLimits{.rows_max = 512,
                                        .inputs_max = 4096,
                                        .outputs_max = 2048,
                                        .matrix_values_max = 2048 * 4096,
                                        .heads = 64,
                                        .head_dim = 256,
                                        .singles_max = 512};

class CudaOps : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_CARD();
    static const bool reserved = card().device->reserve(kOpLimits).ok();
    ASSERT_TRUE(reserved);
  }
  Device& cuda() { return *card().device; }
  Device& reference() { return *reference_; }

 private:
  std::unique_ptr<Device> reference_ = make_reference_device();
};

}  // namespace sluice::kernels
