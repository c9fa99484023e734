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
  EXPECT_TRUE(placement->has_host_experts({0, 1}));
  EXPECT_EQ(placement->text(), "experts=cpu,experts[2-3]=cuda,experts[7-7]=cuda,rest=cuda");
  EXPECT_EQ(Placement::parse(placement->text())->text(), placement->text());
}

TEST(Placement, NothingSaidIsAllOnTheDevice) {
  const Placement placement = *Placement::parse("");
  EXPECT_FALSE(placement.has_host_experts({0, 60}));
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
  for (const char* share : {"1.5", "-1", "", "a", "0.1x"})
    EXPECT_THAT(error(std::string("hot=") + share), HasSubstr("expected a share")) << share;
  for (const char* share : {"1.5", "-1", "", "all"})
    EXPECT_THAT(error(std::string("link=") + share), HasSubstr("expected a share")) << share;
  EXPECT_THAT(error("experts[1:2]=cpu"), HasSubstr("can only be on cuda besides"));
  EXPECT_THAT(error("experts[1:]=cuda"), HasSubstr("layers"));
  EXPECT_THAT(error("rest=cpu"), HasSubstr("the rest of all layers lies on cuda"));
  EXPECT_THAT(error("rest[1-2]=cuda"), HasSubstr("the rest of all layers lies on cuda"));
}

TEST(Placement, ExpertsMayComeOverTheLink) {
  EXPECT_LT(Placement::parse("experts=cpu")->link_share(), 0);
  EXPECT_EQ(Placement::parse("link=0.25,link=auto")->text(), "rest=cuda");
  const Placement some = *Placement::parse("experts=cpu,link=0.25");
  EXPECT_EQ(some.link_share(), 0.25);
  EXPECT_EQ(Placement::parse(some.text())->text(), "experts=cpu,link=0.25,rest=cuda");
  EXPECT_EQ(Placement::parse("link=0")->text(), "link=0,rest=cuda");
  // A link of 50 GB/s beside a processor of 150, and beside a slow one.
  EXPECT_NEAR(pull_share({.host_read_gb_s = 150, .link_gb_s = 50}), 0.25, 1e-9);
  EXPECT_EQ(pull_share({.host_read_gb_s = 60, .link_gb_s = 50}), 0.3);
  EXPECT_EQ(pull_share({.host_read_gb_s = 120}), 0);
  EXPECT_EQ(pull_share({.link_gb_s = 50}), 0);
}

// Every form that the help quotes is one, and its example means what it is there for.
TEST(Placement, WhatItsHelpQuotesIsUnderstood) {
  std::vector<std::string> quoted;
  std::string help(kPlacementHelp);
  for (const char* word : {"layers' ", "host's ", "processor's"})
    help.replace(help.find(word), std::string_view(word).size(), "");
  for (size_t at = help.find('\''); at != std::string::npos; at = help.find('\'', at + 1)) {
    const size_t end = help.find('\'', at + 1);
    quoted.push_back(help.substr(at + 1, end - at - 1));
    at = end;
  }
  for (const std::string& text : quoted) EXPECT_TRUE(Placement::parse(text).ok()) << text;
  EXPECT_THAT(quoted, ::testing::SizeIs(9));
  const Placement example = *Placement::parse(quoted.back());
  EXPECT_EQ(example.experts(9), Place::kDevice);
  EXPECT_EQ(example.experts(10), Place::kHost);
  EXPECT_TRUE(example.has_hot_to_fit());
}

TEST(Placement, SomeExpertsOfTheHostAreOnTheDeviceBesides) {
  const Placement placement =
      *Placement::parse("experts=cpu,experts[2-3:4-5]=cuda,experts[3:9]=cuda,hot=0.25");
  EXPECT_EQ(placement.experts(3), Place::kHost);
  EXPECT_THAT(placement.named_residents(1, 16), ::testing::IsEmpty());
  EXPECT_THAT(placement.named_residents(2, 16), ::testing::ElementsAre(4, 5));
  EXPECT_THAT(placement.named_residents(3, 16), ::testing::ElementsAre(4, 5, 9));
  EXPECT_EQ(placement.residents(1, 16), 4);
  EXPECT_EQ(placement.residents(3, 16), 7);
  EXPECT_EQ(Placement::parse("experts=cpu,hot=1,experts[0:3]=cuda")->residents(0, 16), 16);
  EXPECT_EQ(placement.text(),
            "experts=cpu,experts[2-3:4-5]=cuda,experts[3-3:9-9]=cuda,hot=0.25,rest=cuda");
  EXPECT_EQ(Placement::parse(placement.text())->text(), placement.text());
  EXPECT_EQ(Placement::parse("hot=auto")->text(), "hot=auto,rest=cuda");
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

// Two layers of ten experts on the host, ten bytes each.
TEST(Placement, HotExpertsTakeWhatIsLeft) {
  PlacementSizes sizes = kSizes;
  sizes.experts = 10;
  const auto hot = [&](int64_t free_bytes, const char* text) {
    sizes.free_bytes = free_bytes;
    return fit_hot_experts(sizes, *Placement::parse(text), 5);
  };
  const char* place = "experts[2-3]=cpu,hot=auto";
  EXPECT_EQ(hot(115, place).residents(2, 10), 0);
  EXPECT_EQ(hot(134, place).residents(2, 10), 0);
  EXPECT_EQ(hot(135, place).residents(2, 10), 1);
  EXPECT_EQ(hot(1000, place).text(), "experts[2-3]=cpu,hot=1,rest=cuda");
  EXPECT_EQ(hot(155, "experts[2-3]=cpu,experts[2:0-1]=cuda,hot=auto").residents(3, 10), 1);
  const Placement some = hot(155, place);
  EXPECT_EQ(sizes.resident_bytes(some), 40);
  EXPECT_EQ(sizes.device_bytes(some), 150);
  EXPECT_TRUE(check_placement(sizes, some, 5).ok());
  EXPECT_FALSE(check_placement(sizes, some, 6).ok());
  EXPECT_THAT(describe(some, sizes, {}),
              AllOf(HasSubstr("0.00 GB of these experts of the host"), HasSubstr("hot=0.2,")));
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
  sizes.unread_bytes = 10;
  sizes.used_share = 0.5;
  const MachineSpeeds speeds{.device_read_gb_s = 1, .host_read_gb_s = 0.1};
  const Placement placement = *Placement::parse("experts[2]=cpu");
  EXPECT_NEAR(tokens_per_s(token_bytes(placement, sizes), speeds), 1e9 / (90 + 100 + 500), 1);
  EXPECT_NEAR(tokens_per_s(token_bytes({}, sizes), {.device_read_gb_s = 1}), 1e9 / (90 + 150), 1);
  EXPECT_EQ(tokens_per_s(token_bytes(placement, sizes), {.device_read_gb_s = 1}), 0);
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
