#include "kernels/stored_formats.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::kernels {
namespace {

// A file of tools/make_stored_goldens.py.
class StoredGolden {
 public:
  explicit StoredGolden(const std::string& name)
      : in_(SLUICE_TESTS_DIR "/data/stored/" + name + ".bin", std::ios::binary) {
    uint32_t sizes[3] = {};
    in_.read(reinterpret_cast<char*>(sizes), sizeof sizes);
    EXPECT_TRUE(in_.good()) << name;
    outputs_ = sizes[0];
    inputs_ = sizes[1];
    group_ = sizes[2];
  }

  template <typename T>
  std::vector<T> tensor() {
    uint32_t bytes = 0;
    in_.read(reinterpret_cast<char*>(&bytes), sizeof bytes);
    return values<T>(bytes / sizeof(T));
  }

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t group() const { return group_; }

  // What remains of the file, bit for bit.
  template <typename DecodeRow>
  void expect_rows(const DecodeRow& decode_row) {
    const auto expected = values<float>(static_cast<size_t>(outputs_ * inputs_));
    std::vector<float> found(static_cast<size_t>(inputs_));
    for (int64_t output = 0; output < outputs_; ++output) {
      decode_row(output, found.data());
      ASSERT_EQ(std::memcmp(found.data(), expected.data() + output * inputs_,
                            found.size() * sizeof(float)),
                0)
          << "output " << output;
    }
  }

 private:
  template <typename T>
  std::vector<T> values(size_t count) {
    std::vector<T> read(count);
    in_.read(reinterpret_cast<char*>(read.data()), static_cast<std::streamsize>(count * sizeof(T)));
    EXPECT_TRUE(in_.good());
    return read;
  }

  std::ifstream in_;
  int64_t outputs_ = 0, inputs_ = 0, group_ = 0;
};

struct Int4Case {
  const char* name;
  Int4Layout layout;
  bool has_zeros = true;
  int32_t zero_offset = 0;
  bool act_order = false;
};

class Int4Test : public ::testing::TestWithParam<Int4Case> {};

TEST_P(Int4Test, DecodesAsNumpyDoes) {
  const Int4Case& c = GetParam();
  StoredGolden golden(c.name);
  const auto codes = golden.tensor<int32_t>();
  const auto zeros = c.has_zeros ? golden.tensor<int32_t>() : std::vector<int32_t>();
  const auto scales = golden.tensor<std::byte>();
  const auto groups = c.act_order ? golden.tensor<int32_t>() : std::vector<int32_t>();
  const Int4Matrix matrix{.layout = c.layout,
                          .outputs = golden.outputs(),
                          .inputs = golden.inputs(),
                          .group = golden.group(),
                          .codes = codes.data(),
                          .zeros = c.has_zeros ? zeros.data() : nullptr,
                          .zero_offset = c.zero_offset,
                          .scales = scales.data(),
                          .scale_type = core::DType::kF16,
                          .group_of_input = c.act_order ? groups.data() : nullptr};
  golden.expect_rows([&](int64_t output, float* out) { decode_int4_row(matrix, output, out); });
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Int4Test,
    ::testing::Values(Int4Case{"compressed_symmetric", Int4Layout::kCompressedTensors, false},
                      Int4Case{"compressed_zeros", Int4Layout::kCompressedTensors},
                      Int4Case{"awq", Int4Layout::kAwq}, Int4Case{"gptq_v2", Int4Layout::kGptq},
                      Int4Case{"gptq_v1", Int4Layout::kGptq, true, 1},
                      Int4Case{"gptq_v2_act_order", Int4Layout::kGptq, true, 0, true},
                      Int4Case{"gptq_v1_act_order", Int4Layout::kGptq, true, 1, true}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(StoredFormats, Int8PerChannelDecodesAsNumpyDoes) {
  StoredGolden golden("int8_channel");
  const auto codes = golden.tensor<int8_t>();
  const auto scales = golden.tensor<std::byte>();
  const Int8Matrix matrix{
      .inputs = golden.inputs(), .codes = codes.data(), .scales = scales.data()};
  golden.expect_rows([&](int64_t output, float* out) { decode_int8_row(matrix, output, out); });
}

TEST(StoredFormats, Mxfp4DecodesAsNumpyDoes) {
  StoredGolden golden("mxfp4");
  const auto codes = golden.tensor<uint8_t>();
  const auto scales = golden.tensor<uint8_t>();
  const Mxfp4Matrix matrix{
      .inputs = golden.inputs(), .codes = codes.data(), .scales = scales.data()};
  golden.expect_rows([&](int64_t output, float* out) { decode_mxfp4_row(matrix, output, out); });
}

TEST(StoredFormats, Mxfp4ScaleOf255IsNotANumber) {
  const uint8_t codes[16] = {0x21}, scale = 255;
  float out[32];
  decode_mxfp4_row({.inputs = 32, .codes = codes, .scales = &scale}, 0, out);
  EXPECT_TRUE(std::isnan(out[0]));
}

}  // namespace
}  // namespace sluice::kernels
