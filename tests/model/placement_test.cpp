#include "model/placement.h"

#include <gmock/gmock.h>

namespace sluice::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Placement, ExpertsOfSomeLayersLieOnTheHost) {
  const auto placement =
      Placement::parse("experts=cpu,experts[2-3]=cuda,experts[7]=cuda,rest=cuda");
  ASSERT_TRUE(placement.ok()) << placement.error().message;
  for (const int32_t layer : {0, 1, 4, 6, 8}) EXPECT_EQ(placement->experts(layer), Place::kHost);
  for (const int32_t layer : {2, 3, 7}) EXPECT_EQ(placement->experts(layer), Place::kDevice);
  EXPECT_TRUE(placement->has_host_experts(2));
  EXPECT_EQ(placement->text(), "experts=cpu,experts[2-3]=cuda,experts[7-7]=cuda,rest=cuda");
  EXPECT_EQ(Placement::parse(placement->text())->text(), placement->text());
}

TEST(Placement, NothingSaidIsAllOnTheDevice) {
  const Placement placement = *Placement::parse("");
  EXPECT_FALSE(placement.has_host_experts(61));
  EXPECT_EQ(placement.text(), "rest=cuda");
}

TEST(Placement, WhatIsNotUnderstoodIsNamed) {
  const auto error = [](std::string_view text) {
    const auto placement = Placement::parse(text);
    return placement.ok() ? "no error" : placement.error().message;
  };
  EXPECT_THAT(error("experts"), HasSubstr("'experts', expected GROUP=PLACE"));
  EXPECT_THAT(error("expert=cpu"), HasSubstr("'expert' is no group"));
  EXPECT_THAT(error("experts=tpu"), HasSubstr("'tpu' is no place"));
  for (const char* layers : {"[3-2]", "[a]", "[-1]", "[1-]", "[]", "[3"})
    EXPECT_THAT(error(std::string("experts") + layers + "=cpu"), HasSubstr("layers")) << layers;
  EXPECT_THAT(error("rest=cpu"), HasSubstr("the rest of all layers lies on cuda"));
  EXPECT_THAT(error("rest[1-2]=cuda"), HasSubstr("the rest of all layers lies on cuda"));
}

// Ten bytes besides, a dense layer, three of 100 bytes of experts.
const PlacementSizes kSizes{.rest_bytes = 10, .expert_bytes = {0, 100, 100, 100}};

TEST(Placement, AsManyExpertsAsFitStayOnTheDevice) {
  const auto fitting = [](int64_t free_bytes) {
    PlacementSizes sizes = kSizes;
    sizes.free_bytes = free_bytes;
    return fit_experts(sizes, 5);
  };
  EXPECT_EQ(fitting(315)->text(), "rest=cuda");
  EXPECT_EQ(fitting(314)->text(), "experts[3-3]=cpu,rest=cuda");
  EXPECT_EQ(fitting(115)->text(), "experts[2-3]=cpu,rest=cuda");
  EXPECT_EQ(fitting(15)->text(), "experts[1-3]=cpu,rest=cuda");
  EXPECT_THAT(fitting(14).error().message, HasSubstr("without routed experts the weights need"));
}

TEST(Placement, WhatDoesNotFitIsSaidWithWhatWould) {
  PlacementSizes sizes = kSizes;
  sizes.free_bytes = 220;
  EXPECT_THAT(check_placement(sizes, {}, 5).error().message,
              AllOf(HasSubstr("weights need"), HasSubstr("--place 'experts[3-3]=cpu,rest=cuda'")));
  EXPECT_TRUE(check_placement(sizes, *Placement::parse("experts[1]=cpu"), 5).ok());
}

// 90 bytes of the rest and half of two layers at 1 GB/s, half of one layer at 0.1 GB/s.
TEST(Placement, SpeedIsPredictedFromWhatATokenReads) {
  PlacementSizes sizes = kSizes;
  sizes.rest_bytes = 100;
  sizes.table_bytes = 10;
  sizes.used_share = 0.5;
  const MachineSpeeds speeds{.device_read_gb_s = 1, .host_read_gb_s = 0.1};
  const Placement placement = *Placement::parse("experts[2]=cpu");
  EXPECT_NEAR(predict_tokens_per_s(placement, sizes, speeds), 1e9 / (90 + 100 + 500), 1);
  EXPECT_NEAR(predict_tokens_per_s({}, sizes, {.device_read_gb_s = 1}), 1e9 / (90 + 150), 1);
  EXPECT_EQ(predict_tokens_per_s(placement, sizes, {.device_read_gb_s = 1}), 0);
  EXPECT_THAT(describe(placement, sizes, speeds), HasSubstr("at most 1449275.4 tokens/s"));
  EXPECT_THAT(describe(placement, sizes, {}), ::testing::Not(HasSubstr("at most")));
}

// A second of copying against 7 % of 10^12 operations a second.
TEST(Placement, LongPromptsAreWorthTheCopy) {
  const LayerWork work{.bytes = 1'000'000'000, .row_operations = 7e8};
  EXPECT_EQ(streamed_rows_min(work, {.host_tops = 1, .link_gb_s = 1}), 100);
  EXPECT_EQ(streamed_rows_min(work, {.host_tops = 1, .link_gb_s = 1e9}), 1);
  EXPECT_EQ(streamed_rows_min(work, {.host_tops = 1}), INT64_MAX);
  EXPECT_EQ(streamed_rows_min(work, {.link_gb_s = 1}), INT64_MAX);
}

}  // namespace
}  // namespace sluice::model
