#include "plan/geometry.h"

#include <gtest/gtest.h>

namespace sluice::plan {
namespace {

// Of the published models: all their weights, biases and norms.
TEST(Geometry, ParametersAreThoseOfThePublishedModels) {
  const struct {
    const char* name;
    double billions;
  } kPublished[] = {
      {"smollm2-135m", 0.134515008}, {"llama3-8b", 8.030261248}, {"llama3-70b", 70.553706496},
      {"qwen2-1.5b", 1.543714304},   {"qwen2-7b", 7.615616512},  {"qwen2-14b", 14.770033664},
      {"qwen2-32b", 32.763876352},   {"qwen3-8b", 8.190735360},  {"deepseek-v3", 671.026404352}};
  for (const auto& [name, billions] : kPublished) {
    const int64_t found = part_values(find_geometry(name).value()).total();
    EXPECT_NEAR(static_cast<double>(found) * 1e-9, billions, 1e-6 * billions) << name;
  }
  EXPECT_NEAR(static_cast<double>(part_values(find_geometry("kimi-k2").value()).total()) * 1e-9,
              1026, 2);
  EXPECT_NEAR(static_cast<double>(part_values(find_geometry("gpt3-175b").value()).total()) * 1e-9,
              174.6, 0.3);
}

TEST(Geometry, DeepSeekPartsAreThePublishedOnes) {
  const PartValues values = part_values(find_geometry("deepseek-v3").value());
  const auto billions = [&](Part part) {
    return static_cast<double>(values.of[static_cast<size_t>(part)]) * 1e-9;
  };
  EXPECT_NEAR(billions(Part::kAttention), 11.413, 0.001);
  EXPECT_NEAR(billions(Part::kDenseFfn), 1.189, 0.001);
  EXPECT_NEAR(billions(Part::kSharedExperts), 2.554, 0.001);
  EXPECT_NEAR(billions(Part::kExperts), 653.9, 0.1);
  EXPECT_NEAR(billions(Part::kRouter), 0.106, 0.001);
  EXPECT_NEAR(billions(Part::kOutput), 0.927, 0.001);
}

TEST(Geometry, CachesOfATokenInBf16) {
  EXPECT_EQ(find_geometry("deepseek-v3").value().kv_token_values() * 2, 70'272);
  EXPECT_EQ(find_geometry("llama3-8b").value().kv_token_values() * 2, 131'072);
  // dim × layers × bytes × 2: 12,288 × 96 × 2 × 2, 4.5 MiB
  EXPECT_EQ(find_geometry("gpt3-175b").value().kv_token_values() * 2, 12'288 * 96 * 2 * 2);
  EXPECT_EQ(find_geometry("gpt3-175b").value().kv_token_values() * 2, 9 * 1024 * 1024 / 2);
}

TEST(Geometry, AnUnknownNameListsTheKnownOnes) {
  const auto found = find_geometry("gpt5");
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.error().message.find("deepseek-v3"), std::string::npos);
}

}  // namespace
}  // namespace sluice::plan
