// Products of groups of rows, each with a matrix of its own, on the tensor cores: what routed
// experts and the heads of latent attention are made of. Weights are the first operand, 16 outputs
// at a time, and stay in their blocks until they are in registers (grouped_formats.cuh); rows are
// the second, eight at a time. A sum goes over the runs in their order, whatever the shape: those
// of one slice give a row the same bits.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/grouped_formats.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

enum class GroupedResult : uint8_t {
  kBf16,
  kF16,
  kSiluMul,  // of two matrices, silu(first) · second, bf16
  kFloat,
  kFloatAdd,  // y += product
};

struct GroupedArgs {
  const std::byte* weights[2] = {};  // of matrix 0; the second with kSiluMul
  int64_t stride_bytes = 0;          // from one matrix to the next
  int64_t scales_at = 0;             // in a matrix
  int64_t outputs = 0;
  int64_t inputs = 0;
  const uint16_t* x = nullptr;  // bf16 (any, inputs)
  uint16_t* out = nullptr;      // (any, out_pitch), of which `outputs` are written
  float* y = nullptr;           // the same, of kFloat and kFloatAdd
  int64_t out_pitch = 0;
  int64_t out_step = 1;  // from the row of one token to the next one's
};

// Up to kTokens rows by one matrix.
struct GroupedTile {
  int32_t matrix = 0;
  int32_t count = 0;
  int64_t first_out = 0;  // row of the first
};

// Shared memory: kStages times weights (kRows, kRowPitch), scales (kRows, kStageScales) and rows
// (kTokens, kTokenPitch). Pitches keep the eight outputs, or rows, that a warp reads at once in
// different banks. A warp has 32 weight rows: 16 outputs of two matrices, or 32 of one; kSlices
// warps have the same rows, each a share of the inputs.
template <typename Format, int kTokensOfTile, int kWarpsOfBlock, int kRowBytesOfStage, int kDepth,
          int kSlicesOfRows = 1>
struct GroupedShape {
  using Weights = Format;
  static constexpr int kTokens = kTokensOfTile;
  static constexpr int kWarps = kWarpsOfBlock;
  static constexpr int kStages = kDepth;
  static constexpr int kRowBytes = kRowBytesOfStage;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kSlices = kSlicesOfRows;
  static constexpr int kRowWarps = kWarps / kSlices;
  static constexpr int kRows = 32 * kRowWarps;
  static constexpr int kStageRuns = kRowBytes / Format::kRunBytes;
  static constexpr int kInputs = kStageRuns * kRun;
  static constexpr int kRowPitch = kRowBytes + Format::kRunBytes;
  // Stages of less than a scale's runs have the same one in turn.
  static constexpr int kStageScales =
      kStageRuns < Format::kScaleRuns ? 1 : kStageRuns / Format::kScaleRuns;
  static constexpr int kScalePitch = kStageScales * Format::kScaleBytes;
  static constexpr int kTokenPitch = kInputs * 2 + 8 * Format::kStep;
  static constexpr int kScalesAt = kRows * kRowPitch;
  static constexpr int kTokensAt = kScalesAt + kRows * kScalePitch;
  static constexpr int kStageBytes = kTokensAt + kTokens * kTokenPitch;
  static_assert(kScalePitch % 4 == 0 && kTokensAt % 16 == 0 && kStageBytes % 16 == 0);
};

// Bound by memory: stages of 128 bytes of an output, four of them on their way.
template <typename Format, int kTokens>
using FewTokens = GroupedShape<Format, kTokens, 4, 128, 4>;
// Bound by the tensor cores: more outputs share the rows.
template <typename Format>
using ManyTokens = GroupedShape<Format, 64, 8, (Format::kRunBytes > 32 ? 128 : 64), 2>;

template <typename Shape, GroupedResult kResult>
class Grouped {
 public:
  using Format = typename Shape::Weights;
  static constexpr int kColumns = Shape::kTokens / 8;
  static constexpr bool kTwo = kResult == GroupedResult::kSiluMul;
  static constexpr int kOutputs = Shape::kRows / (kTwo ? 2 : 1);  // of a block

  __device__ Grouped(const GroupedArgs& args, const GroupedTile& tile, uint4* shared)
      : args_(args),
        tile_(tile),
        base_(reinterpret_cast<std::byte*>(shared)),
        first_output_(int64_t{blockIdx.x} * kOutputs),
        runs_(args.inputs / kRun) {}

  // rows: (kTokens), of x; shared memory
  __device__ void run(const int32_t* rows) {
    const int stages = static_cast<int>((args_.inputs + Shape::kInputs - 1) / Shape::kInputs);
    for (int s = 0; s < Shape::kStages - 1; ++s) {
      if (s < stages) start_stage(s, rows);
      end_copies();
    }
    for (int s = 0; s < stages; ++s) {
      wait_copies<Shape::kStages - 2>();
      __syncthreads();
      if (s + Shape::kStages - 1 < stages) start_stage(s + Shape::kStages - 1, rows);
      end_copies();
      use_stage(base_ + s % Shape::kStages * Shape::kStageBytes);
    }
    if constexpr (Shape::kSlices > 1) join_slices();
    if (slice() == 0) store();
  }

 private:
  static __device__ int row_warp() { return threadIdx.x / 32 % Shape::kRowWarps; }
  static __device__ int slice() { return threadIdx.x / 32 / Shape::kRowWarps; }

  // The sums of all slices, in their order, to the first.
  __device__ void join_slices() {
    constexpr int kSums = 2 * kColumns * 4;
    static_assert((Shape::kSlices - 1) * Shape::kRowWarps * kSums * 32 * 4 <=
                  Shape::kStages * Shape::kStageBytes);
    wait_copies<0>();
    __syncthreads();
    auto* all = reinterpret_cast<float*>(base_);
    const auto place = [&](int of_slice, int i) -> float& {
      const int warp = (of_slice - 1) * Shape::kRowWarps + row_warp();
      return all[(warp * kSums + i) * 32 + threadIdx.x % 32];
    };
    float* sums = &sums_[0][0][0];
    if (slice() > 0) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) place(slice(), i) = sums[i];
    }
    __syncthreads();
    if (slice() > 0) return;
#pragma unroll
    for (int i = 0; i < kSums; ++i)
#pragma unroll
      for (int s = 1; s < Shape::kSlices; ++s) sums[i] += place(s, i);
  }

  // Weight row `row` of the block: its matrix and its output, the last one for rows behind it.
  __device__ const std::byte* matrix_of(int row) const {
    return args_.weights[kTwo ? row / 16 % 2 : 0] + tile_.matrix * args_.stride_bytes;
  }
  __device__ int64_t output_of(int row) const {
    return first_output_ + (kTwo ? row / 32 * 16 + row % 16 : row);
  }
  __device__ int64_t loaded_output(int row) const {
    return min(output_of(row), args_.outputs - 1);
  }

  __device__ void start_stage(int stage, const int32_t* rows) {
    std::byte* to = base_ + stage % Shape::kStages * Shape::kStageBytes;
    const uint32_t address = shared_address(to);
    constexpr int kChunks = Shape::kRowBytes / 16;
    const int64_t row_bytes = args_.inputs * Format::kRunBytes / kRun;
#pragma unroll
    for (int i = threadIdx.x; i < Shape::kRows * kChunks; i += Shape::kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const int64_t at = int64_t{stage} * Shape::kRowBytes + chunk * 16;
      const std::byte* from = matrix_of(row) + loaded_output(row) * row_bytes;
      copy_16(address + row * Shape::kRowPitch + chunk * 16, from + (at < row_bytes ? at : 0),
              at < row_bytes);
    }
    if constexpr (Format::kScaleBytes > 0) start_scales(stage, to + Shape::kScalesAt);
    constexpr int kTokenChunks = Shape::kInputs / 8;
    for (int i = threadIdx.x; i < Shape::kTokens * kTokenChunks; i += Shape::kThreads) {
      const int token = i / kTokenChunks, chunk = i % kTokenChunks;
      const int64_t input = int64_t{stage} * Shape::kInputs + chunk * 8;
      const bool has = token < tile_.count && input < args_.inputs;
      copy_16(address + Shape::kTokensAt + token * Shape::kTokenPitch + chunk * 16,
              args_.x + (has ? rows[token] * args_.inputs + input : 0), has);
    }
  }

  // Rows of an odd number of blocks do not begin on four bytes: they are copied in place.
  __device__ void start_scales(int stage, std::byte* to) {
    constexpr int kWords = Shape::kScalePitch / 4;
    const int64_t row_bytes = runs_ / Format::kScaleRuns * Format::kScaleBytes;
    const int64_t of_stage =
        int64_t{stage} * Shape::kStageRuns / Format::kScaleRuns * Format::kScaleBytes;
    for (int i = threadIdx.x; i < Shape::kRows * kWords; i += Shape::kThreads) {
      const int row = i / kWords, word = i % kWords;
      const int64_t at = of_stage + word * 4;
      const std::byte* from = matrix_of(row) + args_.scales_at + loaded_output(row) * row_bytes;
      std::byte* slot = to + row * Shape::kScalePitch + word * 4;
      if (row_bytes % 4 == 0) {
        copy_4(shared_address(slot), from + (at < row_bytes ? at : 0), at < row_bytes);
        continue;
      }
      for (int half = 0; half < 2; ++half)
        reinterpret_cast<uint16_t*>(slot)[half] =
            at + half * 2 < row_bytes ? reinterpret_cast<const uint16_t*>(from + at)[half]
                                      : uint16_t{0};
    }
  }

  __device__ void use_stage(const std::byte* stage) {
    const int lane = threadIdx.x % 32;
    const int in_group = lane % 4, group = lane / 4;
    const auto* weights = reinterpret_cast<const uint8_t*>(stage);
    const std::byte* tokens = stage + Shape::kTokensAt + group * Shape::kTokenPitch;
#pragma unroll
    for (int step = 0; step < Shape::kStageRuns / Shape::kSlices; ++step) {
      const int run = step * Shape::kSlices + slice();
      uint32_t a[2][2][4];      // [half][product]
      float scales[2][2] = {};  // [half][output: group, group + 8]
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int row = row_warp() * 32 + half * 16 + i * 8 + group;
          Codes codes =
              Format::codes(weights + row * Shape::kRowPitch + run * Format::kRunBytes, in_group);
          const std::byte* scale = stage + Shape::kScalesAt + row * Shape::kScalePitch +
                                   run / Format::kScaleRuns * Format::kScaleBytes;
          if constexpr (Format::kScalesSums)
            scales[half][i] = Format::scale(scale);
          else if constexpr (Format::kScaleBytes > 0)
            codes = Format::weighted(codes, scale);
#pragma unroll
          for (int product = 0; product < 2; ++product) {
            a[half][product][i] = codes.pairs[product][0];
            a[half][product][i + 2] = codes.pairs[product][1];
          }
        }
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        if (n * 8 >= tile_.count) break;
        const std::byte* token = tokens + n * 8 * Shape::kTokenPitch;
        const int at = run * kRun + Format::kStep * in_group;
        const uint2 b[2] = {*reinterpret_cast<const uint2*>(token + (at + Format::kFirst) * 2),
                            *reinterpret_cast<const uint2*>(token + (at + Format::kSecond) * 2)};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float(&sum)[4] = sums_[half][n];
          if constexpr (Format::kScalesSums) {
            float of_run[4] = {};
            multiply(of_run, a[half][0], b[0], of_run);
            multiply(of_run, a[half][1], b[1], of_run);
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[i] = fmaf(scales[half][i / 2], of_run[i], sum[i]);
          } else {
            multiply(sum, a[half][0], b[0], sum);
            multiply(sum, a[half][1], b[1], sum);
          }
        }
      }
    }
  }

  __device__ void store() const {
    const int lane = threadIdx.x % 32, row = row_warp() * 32 + lane / 4;
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = n * 8 + lane % 4 * 2 + i % 2;
        if (token >= tile_.count) continue;
        const int64_t at = (tile_.first_out + token * args_.out_step) * args_.out_pitch;
        const float first = sums_[0][n][i], second = sums_[1][n][i];
        const int64_t output = output_of(row + i / 2 * 8);
        if constexpr (kTwo) {
          if (output < args_.outputs)
            args_.out[at + output] = bits(first / (1 + __expf(-first)) * second);
        } else {
          if (output < args_.outputs) put(at + output, first);
          if (output + 16 < args_.outputs) put(at + output + 16, second);
        }
      }
  }

  __device__ void put(int64_t at, float value) const {
    if constexpr (kResult == GroupedResult::kFloat)
      args_.y[at] = value;
    else if constexpr (kResult == GroupedResult::kFloatAdd)
      args_.y[at] += value;
    else
      args_.out[at] = bits(value);
  }

  static __device__ uint16_t bits(float value) {
    if constexpr (kResult == GroupedResult::kF16) return __half_as_ushort(__float2half(value));
    return __bfloat16_as_ushort(__float2bfloat16(value));
  }

  const GroupedArgs& args_;
  const GroupedTile tile_;
  std::byte* const base_;
  const int64_t first_output_;
  const int64_t runs_;
  float sums_[2][kColumns][4] = {};
};

}  // namespace sluice::kernels::cuda
