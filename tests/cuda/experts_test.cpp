// Routers and routed experts on the card against the reference device.
#include <cmath>

#include "kernels/half.h"
#include "tests/cuda/stacks.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

class CudaExperts : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS_CARD();
    reserve(false);
  }
  void reserve(bool is_deterministic) {
    ASSERT_TRUE(cuda()
                    .reserve({.is_deterministic = is_deterministic,
                              .rows_max = 600,
                              .inputs_max = 1024,
                              .outputs_max = 1024,
                              .heads = 1,
                              .head_dim = 64,
                              .singles_max = 1,
                              .experts = 480,
                              .experts_used = 8,
                              .expert_inputs = 1024,
                              .expert_ffn = 512})
                    .ok());
  }
  Device& cuda() { return *card().device; }
  Device& reference() { return *reference_; }

 private:
  std::unique_ptr<Device> reference_ = make_reference_device();
};

// ---- Routers ------------------------------------------------------------------------------------

struct Routed {
  std::vector<uint16_t> normed;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

struct RouteShape {
  int64_t rows = 0;
  int32_t experts = 0;
  int32_t used = 0;
  RouterRule rule;
  bool has_bias = false;
  int64_t inputs = 328;
};

Routed run_route(Device& device, const RouteShape& shape, uint64_t seed) {
  core::Rng rng(seed);
  const OnDevice<float> hidden(device, normals(rng, shape.rows * shape.inputs, 3)),
      norm(device, normals(rng, shape.inputs)),
      router(device, normals(rng, shape.experts * shape.inputs, 0.05f)),
      bias(device, normals(rng, shape.experts, 0.1f));
  std::vector<int32_t> of_rows(static_cast<size_t>(shape.rows), 0);
  if (shape.rows > 2) of_rows[1] = -1;
  const OnDevice<int32_t> tables(device, of_rows);
  const auto choices = static_cast<size_t>(shape.rows * shape.used);
  const OnDevice<uint16_t> normed(
      device, std::vector<uint16_t>(static_cast<size_t>(shape.rows * shape.inputs), 0x7fc0));
  const OnDevice<int32_t> ids(device, std::vector<int32_t>(choices, 12345));
  const OnDevice<float> weights(device, std::vector<float>(choices, 0.5f));
  device.route({.hidden = hidden.data(),
                .norm = norm.data(),
                .epsilon = 1e-6f,
                .rows = shape.rows,
                .tables = tables.data(),
                .router = router.data(),
                .bias = shape.has_bias ? bias.data() : nullptr,
                .inputs = shape.inputs,
                .experts = shape.experts,
                .used = shape.used,
                .rule = shape.rule,
                .normed = normed.data(),
                .ids = ids.data(),
                .weights = weights.data()});
  device.wait();
  return {normed.values(), ids.values(), weights.values()};
}

TEST_F(CudaExperts, RoutersAgreeWithReference) {
  constexpr RouterRule kDeepseek{.scores = RouterScores::kSigmoid,
                                 .groups = 8,
                                 .groups_used = 4,
                                 .group_best = 2,
                                 .normalized = true,
                                 .scale = 2.5f};
  RouterRule dozen = kDeepseek;  // of groups: more than warps
  dozen.groups = 12;
  constexpr RouterRule kBestOne{.groups = 4, .groups_used = 2, .group_best = 1, .scale = 16};
  uint64_t seed = 31;
  for (const int64_t rows : {1, 2, 4, 5, 64, 70, 300, 600})
    for (const RouteShape& shape :
         {RouteShape{rows, 256, 8, kDeepseek, true}, RouteShape{rows, 8, 3, {.normalized = true}},
          RouteShape{rows, 160, 6, kBestOne}, RouteShape{rows, 100, 1, {}, true},
          RouteShape{rows, 480, 8, dozen, true, 8232}}) {
      if (shape.inputs > 1000 && rows > 5) continue;  // the reference takes long
      ++seed;
      const Routed expected = run_route(reference(), shape, seed);
      for (const bool is_deterministic : {false, true}) {
        reserve(is_deterministic);
        const Routed got = run_route(cuda(), shape, seed);
        EXPECT_EQ(got.ids, expected.ids)
            << rows << " rows, " << shape.experts << " experts, seed " << seed;
        EXPECT_LT(relative_error(got.weights, expected.weights), 1e-5);
        EXPECT_LT(relative_error(floats_of(got.normed, float_of_bf16),
                                 floats_of(expected.normed, float_of_bf16)),
                  0.001);
      }
    }
}

// ---- Experts ------------------------------------------------------------------------------------

struct ExpertShape {
  DType gate = DType::kBF16;
  DType down = DType::kBF16;
  int64_t inputs = 0;
  int64_t ffn = 0;
  int32_t experts = 0;
  int32_t used = 0;
  int64_t rows = 0;
};

// The first expert is everybody's: it has the most rows. One row is nobody's, and one choice of
// another.
std::vector<int32_t> random_ids(core::Rng& rng, const ExpertShape& shape) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < shape.rows; ++row) {
    std::vector<int32_t> rest;
    for (int32_t e = 1; e < shape.experts; ++e) rest.push_back(e);
    ids.push_back(0);
    for (int32_t i = 1; i < shape.used; ++i) {
      const auto at = static_cast<size_t>(rng.below(static_cast<uint64_t>(rest.size())));
      ids.push_back(rest[at]);
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (row == 1 && shape.used > 1) ids.back() = -1;
    if (row == 2) std::fill(ids.end() - shape.used, ids.end(), -1);
  }
  return ids;
}

std::vector<float> run_experts(Device& device, const ExpertShape& shape, uint64_t seed) {
  core::Rng rng(seed);
  const StackShape in{shape.gate, shape.ffn, shape.inputs, shape.experts},
      out{shape.down, shape.inputs, shape.ffn, shape.experts};
  const OnDevice<std::byte> gate(device, stack_bytes(rng, in)), up(device, stack_bytes(rng, in)),
      down(device, stack_bytes(rng, out));
  const OnDevice<uint16_t> x(device, bf16_of(normals(rng, shape.rows * shape.inputs)));
  const OnDevice<int32_t> ids(device, random_ids(rng, shape));
  std::vector<float> weights = normals(rng, shape.rows * shape.used);
  for (float& w : weights) w = std::abs(w);
  const OnDevice<float> weights_on(device, weights),
      hidden(device, normals(rng, shape.rows * shape.inputs, 0.01f));
  device.experts({.x = x.data(),
                  .rows = shape.rows,
                  .used = shape.used,
                  .ids = ids.data(),
                  .weights = weights_on.data(),
                  .gate = stack_at(in, gate.data()),
                  .up = stack_at(in, up.data()),
                  .down = stack_at(out, down.data()),
                  .hidden = hidden.data()});
  device.wait();
  return hidden.values();
}

// Codes are exact; Q4_1 is rounded to bf16 with its scale, twice. Up to four rows of blocks meet
// int8 activations, twice, as the products of ops_test.cpp with silu behind them; e4m3 f16 ones.
double limit_of(const ExpertShape& shape) {
  const auto meets_int8 = [](DType type) {
    const DType kept = device_weight_type(type);
    return kept != DType::kBF16 && kept != DType::kF8_B128;
  };
  if (shape.rows <= 4 && meets_int8(shape.gate) && meets_int8(shape.down)) return 0.06;
  const bool has_minimum = device_weight_type(shape.gate) == DType::kQ4_1;
  return has_minimum ? 0.012 : 0.004;
}

TEST_F(CudaExperts, ExpertsAgreeWithReference) {
  uint64_t seed = 500;
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K})
    for (const int64_t rows : {1, 2, 4, 8, 9, 40, 150}) {
      std::vector<ExpertShape> shapes = {{type, type, 256, 256, 8, 3, rows}};
      if (type != DType::kQ4_K) {
        shapes.push_back({type, DType::kQ8_0, 32, 32, 8, 3, rows});    // as the tiny models
        shapes.push_back({type, DType::kBF16, 288, 96, 40, 8, rows});  // odd blocks
        if (rows <= 4) shapes.push_back({type, type, 256, 1024, 16, 8, rows});  // side by side
        if (rows < 40) shapes.push_back({type, type, 1024, 512, 16, 2, rows});
      }
      for (const ExpertShape& shape : shapes) {
        ++seed;
        const auto expected = run_experts(reference(), shape, seed);
        const auto got = run_experts(cuda(), shape, seed);
        EXPECT_LT(relative_error(got, expected), limit_of(shape))
            << core::info(type).name << ' ' << rows << " rows, " << shape.inputs << " inputs, ffn "
            << shape.ffn << ", seed " << seed;
      }
    }
}

TEST_F(CudaExperts, ExpertsOfE4m3AgreeWithReference) {
  constexpr DType kF8 = DType::kF8_B128;
  uint64_t seed = 700;
  for (const int64_t rows : {1, 2, 4, 8, 9, 40, 150})
    for (const ExpertShape& shape :
         {ExpertShape{kF8, kF8, 256, 256, 8, 3, rows}, ExpertShape{kF8, kF8, 384, 128, 40, 8, rows},
          ExpertShape{kF8, DType::kBF16, 384, 128, 40, 8, rows},
          ExpertShape{kF8, kF8, 256, 1024, 16, 8, rows},
          ExpertShape{kF8, kF8, 1024, 512, 16, 2, rows}}) {
      ++seed;
      const auto expected = run_experts(reference(), shape, seed);
      EXPECT_LT(relative_error(run_experts(cuda(), shape, seed), expected), limit_of(shape))
          << rows << " rows, " << shape.inputs << " inputs, ffn " << shape.ffn << ", seed " << seed;
    }
}

// Places of an expert's rows come in any order.
TEST_F(CudaExperts, ExpertsGiveTheSameAgain) {
  const ExpertShape shape{DType::kQ4_0, DType::kQ4_0, 256, 256, 8, 3, 150};
  const auto first = run_experts(cuda(), shape, 9);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(run_experts(cuda(), shape, 9), first);
}

}  // namespace
}  // namespace sluice::kernels
