// The ops of a device (kernels/device.h): arguments. Pointers are the device's own; shapes are
// row-major; 16-bit floats are uint16_t.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/ops.h"

namespace sluice::kernels {

// Where the rows of a step stand. Position p of a row lies in page pages[tables[row] + p / 32].
struct DeviceRows {
  int64_t rows = 0;
  const int32_t* positions = nullptr;  // (rows)
  const int32_t* tables = nullptr;     // (rows): where its page table begins; -1: a row of nobody
  const int32_t* pages = nullptr;      // the page tables, one after the other
};

struct DeviceProduct {
  PackedWeights weights;  // of pack_for_device()
  float* y = nullptr;     // (rows, outputs)
};
inline constexpr int kDeviceProductsMax = 3;

enum class DeviceResult : uint8_t {
  kStore,    // y = product
  kAdd,      // y += product
  kSiluMul,  // of two products: activated = bf16(silu(first) · second); their y is not written
};

// Products that share their input: bf16 rows, or float rows through an RMSNorm that rounds to bf16.
struct DeviceLinearArgs {
  const float* hidden = nullptr;  // (rows, inputs); null: x
  const float* norm = nullptr;    // (inputs), with hidden
  float epsilon = 0;
  const uint16_t* x = nullptr;  // bf16 (rows, inputs)
  int64_t rows = 0;
  std::array<DeviceProduct, kDeviceProductsMax> products{};
  int32_t product_count = 1;
  DeviceResult result = DeviceResult::kStore;
  const float* bias = nullptr;    // (outputs) of the one product, with kAdd; or null
  uint16_t* activated = nullptr;  // bf16 (rows, outputs), of kSiluMul
};

// One side of what attention reads: + bias, RMSNorm of each head, rotation of rope_dims.
struct DeviceHeads {
  const float* x = nullptr;     // (rows, heads, head_dim)
  const float* bias = nullptr;  // (heads · head_dim) or null
  const float* norm = nullptr;  // (head_dim) or null
  int32_t heads = 0;
};
struct DeviceRope {
  const float* frequencies = nullptr;  // (dims / 2), radians a position
  float magnitude = 1;                 // of cosines and sines
  int32_t dims = 0;
  RopeLayout layout = RopeLayout::kHalfSplit;
};

// Turns queries and keys; queries go to q_out, keys and values to their pages, all in f16.
// A page of a device: keys (kv_heads, kPageTokens, head_dim), behind them values in the same shape.
struct DeviceTurnArgs {
  DeviceRows rows;
  KvLayer kv;  // format kF16; its bytes a page are kv_page_bytes()
  DeviceHeads q;
  DeviceHeads k;
  const float* v = nullptr;       // (rows, kv_heads, head_dim)
  const float* v_bias = nullptr;  // or null
  float epsilon = 0;
  DeviceRope rope;
  uint16_t* q_out = nullptr;  // f16 (rows, heads, head_dim)
};

// Consecutive rows of one sequence, at most kPromptTileRows.
struct PromptTile {
  int32_t first_row = 0;
  int32_t rows = 0;
};
inline constexpr int32_t kPromptTileRows = 128;

// As AttentionArgs of ops.h; each row with pages stands in exactly one of the two lists.
struct DeviceAttentionArgs {
  DeviceRows rows;
  KvLayer kv;
  int32_t heads = 0;
  float scale = 0;
  const uint16_t* q = nullptr;           // f16 (rows, heads, head_dim)
  uint16_t* out = nullptr;               // bf16 (rows, heads, head_dim)
  const int32_t* single_rows = nullptr;  // (singles): alone of their sequence in this step
  int32_t singles = 0;
  const PromptTile* tiles = nullptr;  // (tile_count)
  int32_t tile_count = 0;
};

// Rows that products take at once where they are deterministic.
inline constexpr int64_t kProductRows = 128;

// What ops may need room for beside their arguments, and how products are summed.
struct DeviceLimits {
  // A row's results of products, routers, experts and latent attention are the same bits whatever
  // the other rows and their number. Arrays of rows that products read or write have room for whole
  // kProductRows; what is behind the rows, they may overwrite.
  bool is_deterministic = false;
  int64_t rows_max = 0;
  int64_t inputs_max = 0;         // of a product
  int64_t outputs_max = 0;        // of a kSiluMul
  int64_t matrix_values_max = 0;  // of the largest matrix that is kept in blocks
  int32_t heads = 0;
  int32_t head_dim = 0;
  int32_t singles_max = 0;
  // How often a block that shares a tile looks for the others before it leaves its part to them. A
  // look takes about 0.7 µs; blocks that run together come within a few.
  int32_t tile_looks = 64;
  // Of layers with experts; 0: there are none.
  int32_t experts = 0;
  int32_t experts_used = 0;
  int64_t expert_inputs = 0;
  int64_t expert_ffn = 0;
  // Of latent attention; 0: there is none.
  int32_t latent_rank = 0;
  int32_t latent_row = 0;  // with the dimensions that turn
  int32_t nope_dims = 0;
};

}  // namespace sluice::kernels
