// Tiny models of every dense architecture on the card, against a float64 forward pass in numpy.
#include "tests/cuda/support.h"
#include "tests/model/golden_error.h"

namespace sluice::model::testing {
namespace {

class CudaModel : public ::testing::TestWithParam<std::string> {};

// The reference device has 0.03 for bf16 (tests/model/device_forward_test.cpp); up to 4 rows of
// matrices in blocks of whole numbers take int8 activations besides, as on the processor.
TEST_P(CudaModel, LogitsAreCloseToNumpy) {
  using kernels::card;
  NEEDS_CARD();
  const std::string& name = GetParam();
  const bool meets_int8 = name.ends_with("-q8") || name.starts_with("hf-int4") || name == "hf-w8a8";
  const double bound = meets_int8 ? 0.05 : 0.03;
  for (const int32_t chunk : {1, 2, 7, 64})
    EXPECT_LE(worst_golden_error({.name = GetParam(), .chunk = chunk, .device = card().device}),
              bound)
        << "chunk " << chunk;
}

TEST(CudaHybrid, ExpertsMayStayOnTheHost) {
  using kernels::card;
  NEEDS_CARD();
  for (const char* name : {"qwen3moe", "deepseek2-joined-q8"})
    for (const char* place : {"experts=cpu", "experts[2-2]=cpu"})
      for (const int32_t chunk : {1, 7, 64})
        EXPECT_LE(worst_golden_error(
                      {.name = name, .chunk = chunk, .device = card().device, .place = place}),
                  0.05)  // the processor's activations are int8
            << name << ", " << place << ", chunk " << chunk;
}

INSTANTIATE_TEST_SUITE_P(All, CudaModel, ::testing::ValuesIn(device_models()),
                         [](const auto& test) { return test_name(test.param); });

}  // namespace
}  // namespace sluice::model::testing
