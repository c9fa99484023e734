// Decoding against values of the gguf Python package (tools/make_decode_goldens.py): equal bits.
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "kernels/half.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Golden read_golden(const core::DTypeInfo& type) {
  const std::string path =
      std::string(SLUICE_TESTS_DIR) + "/data/decode/" + std::string(type.name) + ".bin";
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  uint32_t count = 0;
  std::memcpy(&count, bytes.data(), 4);
  Golden golden;
  golden.blocks.resize(size_t{count} * static_cast<size_t>(type.block_bytes));
  golden.values.resize(size_t{count} * static_cast<size_t>(type.block_values));
  EXPECT_EQ(bytes.size(), 4 + golden.blocks.size() + golden.values.size() * 4) << path;
  std::memcpy(golden.blocks.data(), bytes.data() + 4, golden.blocks.size());
  std::memcpy(golden.values.data(), bytes.data() + 4 + golden.blocks.size(),
              golden.values.size() * 4);
  return golden;
}

TEST(Decode, EveryTypeEqualsTheGgufPackage) {
  for (int t = 0; t < core::kDTypeCount; ++t) {
    const core::DTypeInfo& type = core::info(static_cast<DType>(t));
    const Golden golden = read_golden(type);
    std::vector<float> values(golden.values.size());
    decode(type.type, golden.blocks.data(), static_cast<int64_t>(values.size()), values.data());
    int different = 0;
    for (size_t i = 0; i < values.size() && different < 4; ++i)
      if (std::bit_cast<uint32_t>(values[i]) != std::bit_cast<uint32_t>(golden.values[i])) {
        ADD_FAILURE() << type.name << " value " << i << ": " << values[i] << ", golden "
                      << golden.values[i];
        ++different;
      }
  }
}

TEST(Decode, HalfRoundTripsAndRounds) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = float_of_f16(half);
    if (std::isnan(value)) continue;
    ASSERT_EQ(f16_of_float(value), half) << bits;
  }
  const float ulp = 0x1.0p-10f;                     // of values in [1, 2)
  EXPECT_EQ(f16_of_float(1 + ulp * 0.5f), 0x3c00);  // tie to even
  EXPECT_EQ(f16_of_float(1 + ulp * 1.5f), 0x3c02);  // tie to even, up
  EXPECT_EQ(f16_of_float(1 + ulp * 0.5f + 1e-7f), 0x3c01);
  EXPECT_EQ(f16_of_float(65519.0f), 0x7bff);
  EXPECT_EQ(f16_of_float(65520.0f), 0x7c00);    // infinity
  EXPECT_EQ(f16_of_float(0x1.0p-25f), 0x0000);  // half the smallest subnormal: to even
  EXPECT_EQ(f16_of_float(0x1.8p-25f), 0x0001);
  EXPECT_EQ(f16_of_float(-0x1.0p-24f), 0x8001);
}

TEST(Decode, EmbedTakesTheNamedRows) {
  core::Rng rng(11);
  for (const Ops* ops : runnable_ops())
    for (DType type : {DType::kQ8_0, DType::kQ4_1, DType::kF16, DType::kF32}) {
      const int64_t columns = 64, table_rows = 9;
      const std::vector<std::byte> table = random_blocks(rng, type, columns * table_rows);
      std::vector<float> whole(static_cast<size_t>(columns * table_rows));
      decode(type, table.data(), columns * table_rows, whole.data());
      const std::vector<int32_t> ids = {8, 0, 3, 3, 7};
      std::vector<float> out(ids.size() * static_cast<size_t>(columns));
      run_all(ops->embed, EmbedArgs{type, table.data(), columns, ids.data(), 5, out.data()}, 2);
      for (size_t r = 0; r < ids.size(); ++r)
        EXPECT_TRUE(same_bits(&out[r * 64], &whole[static_cast<size_t>(ids[r]) * 64], 64))
            << ops->name << " row " << r;
    }
}

}  // namespace
}  // namespace sluice::kernels
