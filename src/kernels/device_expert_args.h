// The ops of a device for a mixture of experts: arguments, as device_args.h.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace sluice::kernels {

// Equal matrices at equal distances: matrix i lies at first.data + i · stride_bytes.
struct DeviceStack {
  PackedWeights first;  // of pack_for_device()
  int64_t stride_bytes = 0;
  int32_t count = 0;

  PackedWeights matrix(int64_t i) const {
    return {first.type, first.outputs, first.inputs, first.data + i * stride_bytes};
  }
};

// Row-wise: an RMSNorm, and where the router sends what it gives (RouteArgs of expert_args.h). The
// router's weights and its scores are float: a rounded score would choose another expert.
struct DeviceRouteArgs {
  const float* hidden = nullptr;  // (rows, inputs)
  const float* norm = nullptr;    // (inputs)
  float epsilon = 0;
  int64_t rows = 0;
  const int32_t* tables = nullptr;  // of DeviceRows, or null; a row of nobody gets ids of -1
  const float* router = nullptr;    // (experts, inputs)
  const float* bias = nullptr;      // (experts) or null
  const int32_t* slots = nullptr;   // as in RouteArgs, with its preference
  float preference = 0;
  int64_t inputs = 0;  // a multiple of 8
  int32_t experts = 0;
  int32_t used = 0;
  RouterRule rule;
  uint16_t* normed = nullptr;  // bf16 (rows, inputs): norm(hidden)
  int32_t* ids = nullptr;      // (rows, used)
  float* weights = nullptr;    // (rows, used)
};

// hidden[r] += Σ_i weights[r, i] · down · bf16(silu(gate · x[r]) · (up · x[r])), summed in the
// order of i, with the matrices of expert ids[r, i], or of slots[ids[r, i]]. An expert's result may
// be rounded to bf16. Choices of -1, by id or by slot, add nothing. An expert's weights are read
// once for all of its rows, or once for each 64 of them.
struct DeviceExpertArgs {
  const uint16_t* x = nullptr;  // bf16 (rows, inputs)
  int64_t rows = 0;
  int32_t used = 0;
  const int32_t* ids = nullptr;    // (rows, used)
  const float* weights = nullptr;  // (rows, used)
  const int32_t* slots = nullptr;  // by id, where the stacks have some of the experts; or null
  DeviceStack gate;                // (expert ffn, inputs)
  DeviceStack up;                  // as gate, and of its type
  DeviceStack down;                // (inputs, expert ffn)
  float* hidden = nullptr;         // (rows, inputs)
};

}  // namespace sluice::kernels
