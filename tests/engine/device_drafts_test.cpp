// A model's draft layer on a device: the engine's output is that without drafts, whole on the
// device, with the layers' experts on the host, and over several. The reference device computes
// every row alone, so that tokens are the same; a card is asked in tests/cuda/drafts_test.cpp.
#include <gtest/gtest.h>

#include "kernels/ref/ref_device.h"
#include "tests/engine/harness.h"
#include "tests/engine/model_drafts.h"
#include "tests/model/draft_folder.h"

namespace sluice::engine::testing {
namespace {

struct Case {
  std::string name;
  std::string folder = "hf-deepseek-fp8";
  std::string place{};
  int32_t cards = 1;
};

class DeviceDrafts : public ::testing::TestWithParam<Case> {};

TEST_P(DeviceDrafts, ChangeNoOutput) {
  model::testing::Devices devices;
  for (int32_t card = 0; card < GetParam().cards; ++card)
    devices.push_back(kernels::make_reference_device());
  const model::testing::DraftFolder folder(GetParam().folder);
  const auto loaded = load_with_drafts(folder.path(), devices.front(), GetParam().place,
                                       {devices.begin() + 1, devices.end()});
  ASSERT_NE(loaded.model, nullptr);
  ASSERT_TRUE(loaded.model->has_drafts());
  const ModelRun plain = run_model(*loaded.model, Speculation::kOff);
  for (const Speculation speculation : {Speculation::kMtp, Speculation::kAuto}) {
    const ModelRun with = run_model(*loaded.model, speculation);
    EXPECT_EQ(with.ids, plain.ids);
    EXPECT_GT(with.drafts[static_cast<size_t>(DraftKind::kMtp)].drafted, 20);
  }
  // The same drafts, whether the device keeps them for its steps or the host looks for the best.
  const ModelRun there = run_model(*loaded.model, Speculation::kMtp);
  const ModelRun here = run_model(*loaded.model, Speculation::kMtp, Sampling::kOnHost);
  EXPECT_EQ(here.ids, there.ids);
  EXPECT_EQ(here.drafted, there.drafted);
  EXPECT_EQ(here.steps, there.steps);
  const ModelRun own = run_model(*loaded.model, Speculation::kNgram);
  EXPECT_EQ(own.ids, plain.ids);
}

INSTANTIATE_TEST_SUITE_P(
    Places, DeviceDrafts,
    ::testing::Values(Case{.name = "OnTheDevice"}, Case{.name = "Hybrid", .place = "experts=cpu"},
                      Case{.name = "OverTwoCards", .folder = "hf-deepseek", .cards = 2},
                      Case{.name = "HybridOverTwoCards",
                           .folder = "hf-deepseek",
                           .place = "experts[2]=cpu",
                           .cards = 2}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace sluice::engine::testing
