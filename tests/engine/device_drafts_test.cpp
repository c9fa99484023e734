// A model's draft layer on a device: the engine's output is that without drafts, whole on the
// device and with the layers' experts on the host. The reference device computes every row alone,
// so that tokens are the same; a card is asked in tests/cuda/drafts_test.cpp.
#include <gtest/gtest.h>

#include "kernels/ref/ref_device.h"
#include "tests/engine/harness.h"
#include "tests/engine/model_drafts.h"
#include "tests/model/draft_folder.h"

namespace sluice::engine::testing {
namespace {

class DeviceDrafts : public ::testing::TestWithParam<std::string> {};

TEST_P(DeviceDrafts, ChangeNoOutput) {
  const std::shared_ptr<kernels::Device> device = kernels::make_reference_device();
  const model::testing::DraftFolder folder;
  const auto loaded = load_with_drafts(folder.path(), device, GetParam());
  ASSERT_NE(loaded.model, nullptr);
  ASSERT_TRUE(loaded.model->has_drafts());
  const ModelRun plain = run_model(*loaded.model, Speculation::kOff);
  for (const Speculation speculation : {Speculation::kMtp, Speculation::kAuto}) {
    const ModelRun with = run_model(*loaded.model, speculation);
    EXPECT_EQ(with.ids, plain.ids);
    EXPECT_GT(with.drafts[static_cast<size_t>(DraftKind::kMtp)].drafted, 20);
  }
  const ModelRun own = run_model(*loaded.model, Speculation::kNgram);
  EXPECT_EQ(own.ids, plain.ids);
}

INSTANTIATE_TEST_SUITE_P(Places, DeviceDrafts, ::testing::Values("", "experts=cpu"),
                         [](const auto& test) {
                           return std::string(test.param.empty() ? "OnTheDevice" : "Hybrid");
                         });

}  // namespace
}  // namespace sluice::engine::testing
