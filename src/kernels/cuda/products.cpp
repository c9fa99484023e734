#include "kernels/cuda/products.h"

#include <algorithm>

#include "kernels/cuda/card.h"
#include "kernels/cuda/ops.cuh"
#include "kernels/cuda/rows_by_parts.cuh"
#include "kernels/cuda/rows_by_tiles.cuh"

namespace sluice::kernels::cuda {

static_assert(kCodePartBytes <= CublasLt::kWorkspaceBytes);

namespace {

// Inputs of e4m3's products of few rows are two bytes for a weight of one, and shared memory has no
// time for those of three rows.
int64_t narrow_rows_max(const DeviceLinearArgs& args) {
  const bool is_e4m3 = args.products[0].weights.type == core::DType::kF8_B128;
  return is_e4m3 && rows_fit_codes(card(), args) ? 2 : kNarrowRowsMax;
}

}  // namespace

void Products::linear(const DeviceLinearArgs& args) {
  const core::DType type = args.products[0].weights.type;
  bool alike = true;  // one kernel reads one format
  for (int32_t p = 1; p < args.product_count; ++p)
    alike = alike && args.products[static_cast<size_t>(p)].weights.type == type;
  const bool blocks = type != core::DType::kBF16;
  if (args.rows > narrow_rows_max(args) || is_deterministic_) return linear_wide(args);
  if (alike && blocks) return linear_narrow_blocks(args, stream_);
  if (alike) return linear_narrow_bf16(args, stream_);
  if (args.result == DeviceResult::kSiluMul) return linear_wide(args);
  for (int32_t p = 0; p < args.product_count; ++p) {
    DeviceLinearArgs one = args;
    one.products[0] = args.products[static_cast<size_t>(p)];
    one.product_count = 1;
    linear(one);
  }
}

const uint16_t* Products::as_bf16(const PackedWeights& weights) {
  if (weights.type == core::DType::kBF16) return reinterpret_cast<const uint16_t*>(weights.data);
  decode_to_bf16(weights, scratch_.decoded, stream_);
  return scratch_.decoded;
}

// Which kernel sums, and in what order, the library chooses by shape. Where a row's result must not
// depend on how many rows there are, all products have the same number of them.
void Products::multiply(const WideProduct& product) {
  if (!is_deterministic_) return library_->multiply(product, scratch_.workspace, stream_);
  const int64_t value_bytes = product.into == WideProduct::Into::kBf16 ? 2 : 4;
  WideProduct group = product;
  group.rows = kProductRows;
  for (int64_t first = 0; first < product.rows; first += kProductRows) {
    group.x = product.x + first * product.inputs;
    group.y = static_cast<std::byte*>(product.y) + first * product.outputs * value_bytes;
    library_->multiply(group, scratch_.workspace, stream_);
  }
}

// Rows in groups, each summed as if there were as many rows as the kernel takes; false: it takes no
// such matrices. A bias is left.
bool Products::groups_by_codes(const DeviceLinearArgs& args, const uint16_t* x) {
  DeviceLinearArgs group = args;
  group.rows = kRowsByCodesMax;
  if (!rows_fit_codes(card(), group)) return false;
  const PackedWeights& w = args.products[0].weights;
  for (int64_t first = 0; first < args.rows; first += kRowsByCodesMax) {
    group.rows = std::min<int64_t>(args.rows - first, kRowsByCodesMax);
    if (args.result == DeviceResult::kSiluMul)
      group.activated = args.activated + first * w.outputs;
    else
      for (int32_t p = 0; p < args.product_count; ++p) {
        const DeviceProduct& product = args.products[static_cast<size_t>(p)];
        group.products[static_cast<size_t>(p)].y = product.y + first * product.weights.outputs;
      }
    rows_by_codes(group, x + first * w.inputs, CodeTiles::kOfMostRows, code_scratch(), stream_);
  }
  return true;
}

// Few rows by matrices that stay in their blocks; false: no kernel for these. A bias is left.
bool Products::rows_from_blocks(const DeviceLinearArgs& args, const uint16_t* x) {
  if (is_deterministic_) return groups_by_codes(args, x);
  if (rows_fit_codes(card(), args)) {
    rows_by_codes(args, x, CodeTiles::kOfTheseRows, code_scratch(), stream_);
    return true;
  }
  const core::DType type = args.products[0].weights.type;
  const bool activates = args.result == DeviceResult::kSiluMul;
  const bool together = activates ? args.products[1].weights.type == type : args.product_count == 1;
  if (args.rows > kRowsByBlocksMax || !together || type == core::DType::kBF16 ||
      type == core::DType::kQ6_K)
    return false;
  rows_by_blocks(args, x, stream_);
  return true;
}

void Products::linear_wide(const DeviceLinearArgs& args) {
  using Into = WideProduct::Into;
  const uint16_t* x = args.x;
  if (args.hidden != nullptr) {
    norm_rows({.x = args.hidden,
               .weight = args.norm,
               .epsilon = args.epsilon,
               .rows = args.rows,
               .columns = args.products[0].weights.inputs,
               .out = scratch_.normed},
              stream_);
    x = scratch_.normed;
  }
  if (!is_deterministic_ && rows_fit_tiles(card(), args)) return rows_by_tiles(args, x, stream_);
  const PackedWeights& first = args.products[0].weights;
  const auto end = [&] {
    if (args.bias != nullptr)
      add_bias(args.products[0].y, args.bias, args.rows, first.outputs, stream_);
  };
  const int parts = is_deterministic_ ? 0 : parts_of_tile(card(), processors_of_card(), args);
  if (parts > 0) {
    rows_by_parts(args, x, parts, code_scratch(), stream_);
    return end();
  }
  if (rows_from_blocks(args, x)) return end();
  const bool activates = args.result == DeviceResult::kSiluMul;
  uint16_t* const activations[] = {scratch_.gate, scratch_.up};
  for (int32_t p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const PackedWeights& w = product.weights;
    DeviceLinearArgs one = args;
    one.products[0] = product;
    one.product_count = 1;
    if (!activates && rows_from_blocks(one, x)) continue;
    WideProduct wide{.weights = as_bf16(w),
                     .x = x,
                     .outputs = w.outputs,
                     .inputs = w.inputs,
                     .rows = args.rows,
                     .y = product.y};
    if (activates) {
      wide.into = Into::kBf16;
      wide.y = activations[p];
    } else if (args.result == DeviceResult::kAdd) {
      wide.into = Into::kFloatAdd;
    }
    multiply(wide);
  }
  if (activates)
    silu_mul(scratch_.gate, scratch_.up, args.rows * first.outputs, args.activated, stream_);
  end();
}

}  // namespace sluice::kernels::cuda
