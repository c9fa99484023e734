// Row-wise ops of every table against ref; equal bits whatever the rows and threads.
#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

// Runs `work(ops, threads)` on every table and compares with ref within `limit`; more threads must
// give the same bits.
template <typename Work>
void expect_agreement(double limit, const std::string& what, const Work& work) {
  const std::vector<float> expected = work(reference_ops(), 1);
  for (const Ops* ops : runnable_ops()) {
    const std::vector<float> one = work(*ops, 1);
    EXPECT_LT(relative_error(one, expected), limit) << ops->name << ' ' << what;
    for (int threads : {2, 3}) EXPECT_EQ(work(*ops, threads), one) << ops->name << ' ' << what;
  }
}

TEST(Rows, RmsNorm) {
  core::Rng rng(1);
  for (int64_t columns : {1, 8, 33, 64, 576, 1000})
    for (int64_t rows : {1, 5}) {
      const auto x = normals(rng, rows * columns, 3), weight = normals(rng, columns);
      expect_agreement(1e-6, std::to_string(columns), [&](const Ops& ops, int threads) {
        std::vector<float> out(x.size());
        run_all(ops.rms_norm,
                RmsNormArgs{x.data(), weight.data(), 1e-5f, rows, columns, out.data()}, threads);
        return out;
      });
    }
}

TEST(Rows, RmsNormOfARowIgnoresTheOthers) {
  core::Rng rng(2);
  const auto x = normals(rng, 7 * 100), weight = normals(rng, 100);
  for (const Ops* ops : runnable_ops()) {
    std::vector<float> all(x.size()), one(100);
    run_all(ops->rms_norm, RmsNormArgs{x.data(), weight.data(), 1e-6f, 7, 100, all.data()});
    for (size_t r = 0; r < 7; ++r) {
      run_all(ops->rms_norm, RmsNormArgs{&x[r * 100], weight.data(), 1e-6f, 1, 100, one.data()});
      EXPECT_TRUE(same_bits(one.data(), &all[r * 100], 100)) << ops->name << " row " << r;
    }
  }
}

TEST(Rows, RopeTurnsPairs) {
  core::Rng rng(3);
  constexpr int32_t kPositions = 40;
  for (RopeLayout layout : {RopeLayout::kAdjacentPairs, RopeLayout::kHalfSplit})
    for (int32_t head_dim : {8, 64, 72, 128})
      for (int32_t rope_dims : {2, head_dim / 2, head_dim}) {
        const int32_t rows = 3, heads = 2;
        const auto x = normals(rng, rows * heads * head_dim);
        std::vector<float> cosines, sines;
        for (int i = 0; i < kPositions * rope_dims / 2; ++i) {
          const double angle = 6.28 * rng.unit();
          cosines.push_back(static_cast<float>(std::cos(angle)));
          sines.push_back(static_cast<float>(std::sin(angle)));
        }
        const std::vector<int32_t> positions = {0, 39, 7};
        expect_agreement(1e-6, std::to_string(head_dim), [&](const Ops& ops, int threads) {
          std::vector<float> out = x;
          run_all(ops.rope,
                  RopeArgs{out.data(), rows, heads, head_dim, rope_dims, positions.data(),
                           cosines.data(), sines.data(), layout},
                  threads);
          return out;
        });
      }
}

TEST(Rows, RopeLayoutsByHand) {
  const std::vector<float> cosines = {0, 1}, sines = {1, 0};  // a quarter turn, no turn
  const std::vector<int32_t> positions = {0};
  for (const Ops* ops : runnable_ops()) {
    std::vector<float> adjacent = {1, 2, 3, 4}, split = {1, 2, 3, 4};
    run_all(ops->rope, RopeArgs{adjacent.data(), 1, 1, 4, 4, positions.data(), cosines.data(),
                                sines.data(), RopeLayout::kAdjacentPairs});
    run_all(ops->rope, RopeArgs{split.data(), 1, 1, 4, 4, positions.data(), cosines.data(),
                                sines.data(), RopeLayout::kHalfSplit});
    EXPECT_EQ(adjacent, (std::vector<float>{-2, 1, 3, 4})) << ops->name;
    EXPECT_EQ(split, (std::vector<float>{-3, 2, 1, 4})) << ops->name;
  }
}

TEST(Rows, AddAndSiluMul) {
  core::Rng rng(4);
  for (int64_t columns : {1, 15, 64, 1536, 1537}) {
    const int64_t rows = 3;
    const auto a = normals(rng, rows * columns, 8), b = normals(rng, rows * columns);
    expect_agreement(1e-9, "add", [&](const Ops& ops, int threads) {
      std::vector<float> out(a.size());
      run_all(ops.add, AddArgs{a.data(), b.data(), rows, columns, out.data()}, threads);
      return out;
    });
    expect_agreement(1e-6, "silu_mul", [&](const Ops& ops, int threads) {
      std::vector<float> out = a;
      run_all(ops.silu_mul, SiluMulArgs{out.data(), b.data(), rows, columns, out.data()}, threads);
      return out;
    });
  }
}

TEST(Rows, SiluAtTheEnds) {
  const std::vector<float> gate = {-1e30f, -200, -88, -1e-30f, 0, 1e-30f, 88, 200, 1e30f};
  const std::vector<float> up(gate.size(), 1);
  for (const Ops* ops : runnable_ops()) {
    std::vector<float> out(gate.size());
    run_all(ops->silu_mul, SiluMulArgs{gate.data(), up.data(), 1, 9, out.data()});
    for (size_t i = 0; i < gate.size(); ++i) {
      const double expected = gate[i] > 0 ? double{gate[i]} / (1 + std::exp(-double{gate[i]}))
                                          : double{gate[i]} * std::exp(double{gate[i]});
      EXPECT_NEAR(out[i], expected, 1e-6 * std::fabs(expected) + 1e-7)
          << ops->name << ' ' << gate[i];
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
