// Tiles of two halves of outputs: of the two matrices of silu(gate · x) · (up · x), or neighbours
// of the products' halves, one product behind the other.
#pragma once

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// Where a half of a tile is.
struct HalfPlace {
  int product = 0;
  int first = 0;  // output; may be behind the last
};
// args: result, product_count, products with the first_half of each.
template <int kHalf, typename Args>
__device__ __forceinline__ HalfPlace half_place(const Args& args, int tile, int half) {
  if (args.result == DeviceResult::kSiluMul) return {half, tile * kHalf};
  const int at = 2 * tile + half;
  int product = 0;
  while (product + 1 < args.product_count && at >= args.products[product + 1].first_half) ++product;
  return {product, (at - args.products[product].first_half) * kHalf};
}

}  // namespace sluice::kernels::cuda
