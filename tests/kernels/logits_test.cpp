// Ops on a row of logits, and the choice of a table.
#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

TEST(Logits, ArgmaxTakesTheFirstOfEquals) {
  core::Rng rng(5);
  for (const Ops* ops : runnable_ops())
    for (int64_t count : {1, 7, 16, 100, 49152}) {
      std::vector<float> logits = normals(rng, count);
      const auto expected = std::max_element(logits.begin(), logits.end()) - logits.begin();
      EXPECT_EQ(ops->argmax(logits.data(), count), expected) << ops->name;
      std::fill(logits.begin() + count / 2, logits.end(), 50.0f);
      EXPECT_EQ(ops->argmax(logits.data(), count), count / 2) << ops->name;
      std::fill(logits.begin(), logits.end(), -INFINITY);
      EXPECT_EQ(ops->argmax(logits.data(), count), 0) << ops->name;
    }
}

TEST(Logits, LogsumexpAndSoftmax) {
  core::Rng rng(6);
  for (const Ops* ops : runnable_ops())
    for (int64_t count : {1, 5, 16, 33, 49152})
      for (float shift : {0.0f, 300.0f, -300.0f}) {
        std::vector<float> logits = normals(rng, count, 4), out(logits.size());
        for (float& x : logits) x += shift;
        if (count > 5) logits[3] = -INFINITY;
        const double max = double{*std::max_element(logits.begin(), logits.end())};
        double sum = 0, tempered = 0;
        for (float x : logits) {
          sum += std::exp(double{x} - max);
          tempered += std::exp((double{x} - max) / 0.7);
        }
        EXPECT_NEAR(ops->logsumexp(logits.data(), count), max + std::log(sum), 1e-6) << ops->name;
        ops->softmax(logits.data(), count, 1 / 0.7f, out.data());
        double total = 0;
        for (size_t i = 0; i < out.size(); ++i) {
          const double expected = std::exp((double{logits[i]} - max) / 0.7) / tempered;
          ASSERT_NEAR(out[i], expected, 4e-6 * expected + 1e-12) << ops->name << ' ' << i;
          total += double{out[i]};
        }
        EXPECT_NEAR(total, 1, 1e-5);
        ops->softmax(logits.data(), count, 1 / 0.7f, logits.data());
        EXPECT_EQ(logits, out) << ops->name << " in place";
      }
}

TEST(Logits, TopKIsASortedPrefix) {
  core::Rng rng(7);
  for (const Ops* ops : runnable_ops())
    for (int64_t count : {1, 20, 1000, 49152}) {
      std::vector<float> logits = normals(rng, count);
      for (size_t i = 0; i + 5 < logits.size(); i += 3) logits[i] = logits[i + 5];  // equals
      std::vector<int32_t> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
      });
      for (int64_t k : {int64_t{0}, int64_t{1}, std::min<int64_t>(count, 64), count}) {
        std::vector<ScoredId> best(static_cast<size_t>(k));
        ops->top_k(logits.data(), count, k, best.data());
        for (size_t i = 0; i < best.size(); ++i) {
          ASSERT_EQ(best[i].id, order[i]) << ops->name << ", place " << i << " of " << k;
          ASSERT_EQ(best[i].score, logits[static_cast<size_t>(order[i])]);
        }
      }
    }
}

TEST(Registry, FirstTableWhoseNeedsAreMetOrTheForcedOne) {
  core::CpuInfo none;
  EXPECT_EQ(select_ops(none, "").value()->name, "ref");
  core::CpuInfo old = none;
  old.avx2 = true;
  EXPECT_EQ(select_ops(old, "").value()->name, "avx2");
  EXPECT_EQ(select_ops(old, "ref").value(), &reference_ops());
  const auto refused = select_ops(old, "avx512_vnni");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("choose one of avx2, ref"), std::string::npos)
      << refused.error().message;
  const auto unknown = select_ops(old, "sse9");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, core::ErrorCode::kInvalid);
}

}  // namespace
}  // namespace sluice::kernels
