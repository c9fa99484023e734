// Prompts whose experts a device takes from the host's memory, against the same prompts with the
// experts on the processor and on the device. The models are synthetic: tiny ones of tests/data
// have no 4-bit experts.
#include <cmath>

#include <gtest/gtest.h>

#include "kernels/device_bring.h"
#include "kernels/ref/ref_device.h"
#include "model/model.h"
#include "model/single_sequence.h"
#include "quantize/synthesize.h"

namespace sluice::quantize {
namespace {

plan::Geometry small_experts() {
  plan::Geometry g = plan::find_geometry("deepseek-v3").value();
  g.layers = 5;
  g.hidden = 256;
  g.heads = 2;
  g.ffn = 512;
  g.vocab = 64;
  g.experts.dense_layers = 1;
  g.experts.count = 16;
  g.experts.ffn = 128;
  g.latent.q_rank = 256;
  return g;
}

struct Answer {
  std::vector<float> logits;  // of the last token
  std::string said;
};

Answer run(const char* place, const model::MachineSpeeds& speeds) {
  const auto checkpoint = synthetic_checkpoint(small_experts(), {}).value();
  Answer answer;
  const auto model =
      model::Model::load(*checkpoint,
                         {.threads = 2,
                          .step_tokens_max = 32,
                          .device = kernels::make_reference_device(),
                          .placement = model::Placement::parse(place).value(),
                          .placed = [&](const std::string& line) { answer.said = line; },
                          .speeds = speeds})
          .value();
  model->allocate_kv(4).value();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 50; ++i) ids.push_back(i * 7 % 64);
  answer.logits.resize(static_cast<size_t>(model->spec().vocab));
  model::SingleSequence sequence(*model, 0, 64);
  sequence.append({.ids = ids, .chunk = 32, .logit_count = 1}, answer.logits.data());
  return answer;
}

double difference(const Answer& a, const Answer& b) {
  double differences = 0, squares = 0;
  for (size_t i = 0; i < a.logits.size(); ++i) {
    differences += std::pow(double{a.logits[i]} - double{b.logits[i]}, 2);
    squares += std::pow(double{b.logits[i]}, 2);
  }
  return std::sqrt(differences / squares);
}

// The second step has 18 rows, the last layer one.
TEST(StreamedExperts, GiveWhatTheOthersGive) {
  const model::MachineSpeeds fast_link{.host_tops = 1e-9, .link_gb_s = 1e6};
  const Answer on_device = run("rest=cuda", {}), on_host = run("experts=cpu", {}),
               streamed = run("experts=cpu", fast_link),
               some_streamed = run("experts[2-3]=cpu", fast_link);
  EXPECT_LT(difference(on_host, on_device), 0.05);
  if (!streamed.said.starts_with("steps of 1 tokens or more"))
    GTEST_SKIP() << "no table of this machine has a layout that a device reads: " << streamed.said;
  EXPECT_LT(difference(streamed, on_device), 0.01);
  EXPECT_LT(difference(some_streamed, on_device), 0.01);
}

}  // namespace
}  // namespace sluice::quantize
