// What follows from the code that a card runs (kernels/cuda/card.h); no card is needed.
#include <gtest/gtest.h>

#include "kernels/cuda/card.h"

namespace sluice::kernels::cuda {
namespace {

DeviceLinearArgs product_of(core::DType type, int64_t rows, DeviceResult result) {
  DeviceLinearArgs args;
  args.rows = rows;
  args.result = result;
  args.products[0].weights.type = type;
  args.products[0].weights.outputs = 4096;
  args.products[0].weights.inputs = 1024;
  return args;
}

TEST(CudaCard, WhatHasCodeFor90) {
  const Card card = card_of(90);
  EXPECT_EQ(card.code, 90);
  EXPECT_EQ(card.shared_bytes_max, 226 * 1024);
  EXPECT_TRUE(card.starts_early);
  EXPECT_TRUE(card.has_tiles);
  EXPECT_EQ(card.sample_blocks, 8);
  EXPECT_EQ(card.latent_tiles, 2);
}

// CUDA C++ programming guide, "Technical specifications per compute capability": 8.0 gives a block
// 163 KiB, and has no programmatic launches, tensor maps, wgmma or clusters.
TEST(CudaCard, WhatHasCodeFor80) {
  const Card card = card_of(80);
  EXPECT_EQ(card.shared_bytes_max, 162 * 1024);
  EXPECT_FALSE(card.starts_early);
  EXPECT_FALSE(card.has_tiles);
  EXPECT_EQ(card.sample_blocks, 1);
  EXPECT_EQ(card.latent_tiles, 1);
}

TEST(CudaCard, TilesWhereTheCardHasThemAndTheProductFits) {
  const Card has = card_of(90), lacks = card_of(80);
  for (const auto result : {DeviceResult::kStore, DeviceResult::kSiluMul}) {
    const DeviceLinearArgs args = product_of(core::DType::kBF16, 64, result);
    EXPECT_TRUE(rows_fit_tiles(has, args));
    EXPECT_FALSE(rows_fit_tiles(lacks, args));
  }
  EXPECT_FALSE(rows_fit_tiles(has, product_of(core::DType::kBF16, 65, DeviceResult::kStore)));
  EXPECT_FALSE(rows_fit_tiles(has, product_of(core::DType::kBF16, 64, DeviceResult::kAdd)));
  EXPECT_FALSE(rows_fit_tiles(has, product_of(core::DType::kQ8_0, 64, DeviceResult::kStore)));
  DeviceLinearArgs odd = product_of(core::DType::kBF16, 64, DeviceResult::kStore);
  odd.products[0].weights.outputs = 4097;
  EXPECT_FALSE(rows_fit_tiles(has, odd));
}

// Of 132 multiprocessors, as tests/cuda/linear_test.cpp relies on.
TEST(CudaCard, PartsWhereTheyFillTheCard) {
  const Card has = card_of(90), lacks = card_of(80);
  const auto parts_of = [&](int64_t outputs, int64_t inputs) {
    DeviceLinearArgs args = product_of(core::DType::kBF16, 64, DeviceResult::kAdd);
    args.product_count = 1;
    args.products[0].weights.outputs = outputs;
    args.products[0].weights.inputs = inputs;
    EXPECT_EQ(parts_of_tile(lacks, 132, args), 0);
    return parts_of_tile(has, 132, args);
  };
  EXPECT_EQ(parts_of(4096, 4096), 4);
  EXPECT_EQ(parts_of(4096, 14336), 4);
  EXPECT_EQ(parts_of(8200, 520), 2);
  EXPECT_EQ(parts_of(5506, 1032), 3);
  EXPECT_EQ(parts_of(4000, 1352), 4);
  EXPECT_EQ(parts_of(2816, 1544), 6);
  EXPECT_EQ(parts_of(2176, 1800), 7);
  EXPECT_EQ(parts_of(2048, 2056), 8);
  EXPECT_EQ(parts_of(1536, 8960), 8);   // 96 blocks
  EXPECT_EQ(parts_of(5634, 4096), 0);   // 45 tiles: 90 blocks
  EXPECT_EQ(parts_of(16384, 4096), 0);  // 128: nothing to split
  EXPECT_EQ(parts_of(4096, 512), 0);    // too short
  for (const auto result : {DeviceResult::kStore, DeviceResult::kSiluMul}) {
    DeviceLinearArgs args = product_of(core::DType::kBF16, 64, result);
    args.product_count = 1;
    EXPECT_EQ(parts_of_tile(has, 132, args), 0);
  }
}

TEST(CudaCard, CodesAsTheyLieWhereTheCardHasTilesAndTheProductFits) {
  const Card has = card_of(90), lacks = card_of(80);
  for (const core::DType type :
       {core::DType::kQ8_0, core::DType::kQ4_0, core::DType::kQ4_1, core::DType::kF8_B128}) {
    const DeviceLinearArgs args = product_of(type, 64, DeviceResult::kAdd);
    EXPECT_TRUE(rows_fit_codes(has, args));
    EXPECT_FALSE(rows_fit_codes(lacks, args));
  }
  EXPECT_FALSE(rows_fit_codes(has, product_of(core::DType::kQ8_0, 65, DeviceResult::kStore)));
  EXPECT_FALSE(rows_fit_codes(has, product_of(core::DType::kQ6_K, 64, DeviceResult::kStore)));
  DeviceLinearArgs args = product_of(core::DType::kQ8_0, 64, DeviceResult::kStore);
  args.products[0].weights.inputs = 1024 + 32;
  EXPECT_FALSE(rows_fit_codes(has, args));
  args = product_of(core::DType::kF8_B128, 64, DeviceResult::kStore);
  args.products[0].weights.inputs = 1024 + 256;
  EXPECT_FALSE(rows_fit_codes(has, args));
  args = product_of(core::DType::kQ8_0, 64, DeviceResult::kSiluMul);
  args.product_count = 2;
  args.products[1].weights = args.products[0].weights;
  EXPECT_TRUE(rows_fit_codes(has, args));
  args.products[1].weights.type = core::DType::kQ4_0;
  EXPECT_FALSE(rows_fit_codes(has, args));
}

}  // namespace
}  // namespace sluice::kernels::cuda
