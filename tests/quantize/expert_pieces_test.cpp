// Products of experts in pieces that threads take as they come: matrices of 1 MiB and more, which
// the tiny models of tests/data have not.
#include <gtest/gtest.h>

#include "model/model.h"
#include "model/single_sequence.h"
#include "quantize/synthesize.h"
#include "tests/quantize/small_geometries.h"

namespace sluice::quantize {
namespace {

plan::Geometry wide_experts() {
  plan::Geometry g = small_qwen3moe();
  g.layers = 2;
  g.hidden = 512;
  g.experts = {.count = 8, .used = 3, .ffn = 576};
  return g;
}

// Of steps of so many rows each.
std::vector<float> logits_of(const formats::Checkpoint& checkpoint, int threads, int32_t rows) {
  const auto model =
      model::Model::load(checkpoint, {.threads = threads, .step_tokens_max = rows}).value();
  model->allocate_kv(4).value();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 11; ++i) ids.push_back(i * 7 % 64);
  std::vector<float> logits(ids.size() * static_cast<size_t>(model->spec().vocab));
  model::SingleSequence sequence(*model, 0, 64);
  sequence.append({.ids = ids, .chunk = rows, .logit_count = static_cast<int32_t>(std::ssize(ids))},
                  logits.data());
  return logits;
}

TEST(ExpertPieces, AnyNumberOfThreadsGivesTheSameBits) {
  for (const core::DType type : {core::DType::kF32, core::DType::kBF16, core::DType::kQ8_0}) {
    const auto checkpoint = synthetic_checkpoint(wide_experts(), {.experts = type}).value();
    for (const int32_t rows : {1, 5}) {
      const auto alone = logits_of(*checkpoint, 1, rows);
      for (const int threads : {2, 3, 7})
        EXPECT_EQ(logits_of(*checkpoint, threads, rows), alone)
            << core::info(type).name << ", " << rows << " rows a step, " << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace sluice::quantize
