#include "plan/sizing.h"

#include <fmt/core.h>

namespace sluice::plan {
namespace {

constexpr SizingRow kRows[] = {
    {1.5, 3, "1x RTX 3090 | 1x A10", 6, 8, "1x A100-40G", 10, 16},
    {7, 14, "1x A100-40G | 1x RTX 4090", 16, 24, "4x A100-40G", 32, 48},
    {8, 16, "1x A100-40G | 1x RTX 4090", 20, 28, "8x A100-80G", 64, 128},
    {14, 28, "1x A100-80G | 1x H20-96G", 32, 48, "8x A100-80G", 64, 128},
    {32, 64, "2x A100-80G | 4x H20-96G", 64, 96, "16x A100-80G", 256, 512},
    {70, 140, "4x A100-80G | 4x H20-96G", 128, 192, "32x A100-80G", 512, 1024},
    {671, 1342, "16x A100-80G | 8x H20-96G | 32x Ascend 910B", 1000, 1500, "128x A100-80G", 5000,
     10000},
};

// Names round down: a model "of 7 billion" may have 7.6.
constexpr double kSameModel = 1.15;
constexpr double kRounding = 1.01;
constexpr double kFp16Bytes = 2;

std::string weights_note(const SizingRow& row, const ComputedSize& computed) {
  return fmt::format(
      "weights: {:.0f} GB published, {:.1f} computed ({:+.1f} %): the rule is 2 bytes × {} "
      "billion, the model has {:.2f}",
      row.fp16_gb, computed.fp16_gb, 100 * (computed.fp16_gb / row.fp16_gb - 1), row.model_b,
      static_cast<double>(computed.parameters) * 1e-9);
}

std::string inference_note(const SizingRow& row, const ComputedSize& computed) {
  const double total = computed.fp16_gb + computed.cache_gb;
  std::string note = fmt::format(
      "inference: {:.0f} to {:.0f} GB on {} published, {:.1f} computed (weights {:.1f} + cache "
      "{:.1f}): ",
      row.inference_gb_low, row.inference_gb_high, row.inference_hardware, total, computed.fp16_gb,
      computed.cache_gb);
  if (computed.fp16_gb > row.inference_gb_low)
    note += fmt::format(
        "the low end is less than the FP16 weights and holds the model only in a narrower format "
        "(8 bits: {:.1f} GB)",
        computed.fp16_gb / 2);
  else if (total < row.inference_gb_low)
    note +=
        fmt::format("the rule keeps {:.1f} GB more for runtime, activations and longer contexts",
                    row.inference_gb_low - total);
  else if (total <= row.inference_gb_high)
    note += "inside the range";
  else
    note += fmt::format("{:.1f} GB over the range, which has less cache in mind",
                        total - row.inference_gb_high);
  return note;
}

std::string training_note(const SizingRow& row, const ComputedSize& computed) {
  return fmt::format(
      "training: {:.0f} to {:.0f} GB on {} published, {:.1f} computed (a checkpoint of 6 × the "
      "weights): {}",
      row.training_gb_low, row.training_gb_high, row.training_hardware, computed.checkpoint_gb,
      computed.checkpoint_gb > row.training_gb_high
          ? "the rule has sharded or partial training in mind, where not all state is resident"
      : computed.checkpoint_gb < row.training_gb_low ? "the rule adds activations"
                                                     : "inside the range");
}

}  // namespace

std::span<const SizingRow> sizing_rows() {
  return kRows;
}

const SizingRow* find_sizing(int64_t parameters) {
  const double billions = static_cast<double>(parameters) * 1e-9;
  const SizingRow* best = nullptr;
  for (const SizingRow& row : kRows)
    if (row.model_b <= billions * kRounding && billions <= row.model_b * kSameModel) best = &row;
  return best;
}

ComputedSize computed_size(const ModelSize& model, const Load& load) {
  const auto parameters = static_cast<double>(model.values());
  return {
      .parameters = model.values(),
      .fp16_gb = parameters * kFp16Bytes * 1e-9,
      .cache_gb = static_cast<double>(load.streams * load.context) * model.kv_token_bytes * 1e-9,
      .checkpoint_gb = checkpoint_bytes(model.values(), kFp16Bytes) * 1e-9};
}

std::vector<std::string> sizing_notes(const SizingRow& row, const ComputedSize& computed) {
  return {weights_note(row, computed), inference_note(row, computed), training_note(row, computed)};
}

}  // namespace sluice::plan
