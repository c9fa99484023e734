#include "apps/bench/model_sample.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "apps/bench/random_weights.h"
#include "core/buffer.h"
#include "core/math.h"
#include "formats/gguf_writer.h"

namespace sluice::apps {
namespace {

constexpr int32_t kLayersMin = 4;
constexpr int32_t kExpertLayersMin = 2;  // one in the middle

// Random blocks have large values. Norms that are small keep scores and gates near 1, as trained
// weights do: where e^x is no normal number, or the largest score moves with every block of
// positions, a step takes several times as long.
constexpr float kNormScale = 1.0f / 512;

std::vector<std::byte> sample_weights(core::DType type, int64_t values) {
  std::vector<std::byte> weights = random_weights(type, values);
  if (type != core::DType::kF32) return weights;
  for (size_t at = 0; at < weights.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, weights.data() + at, sizeof value);
    value *= kNormScale;
    std::memcpy(weights.data() + at, &value, sizeof value);
  }
  return weights;
}

// N of "blk.N.…"; -1 for tensors of no layer.
int32_t layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor.starts_with(kPrefix)) return -1;
  int32_t layer = -1;
  std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

int32_t layers_for(const std::vector<CheckpointMatrix>& matrices, const model::Spec& spec,
                   int64_t bytes) {
  const int32_t min = std::max(kLayersMin, spec.experts.leading_dense + kExpertLayersMin);
  int64_t first_layer = 1;
  for (const CheckpointMatrix& m : matrices)
    if (layer_of(m.name) == 0) first_layer += m.file_bytes;
  const int64_t wanted = core::div_ceil(bytes, first_layer);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, std::min(min, spec.layers), spec.layers));
}

}  // namespace

core::Result<ModelSample> sample_model(const formats::Checkpoint& checkpoint,
                                       const model::Spec& spec, int64_t layer_bytes) {
  ModelSample sample;
  sample.matrices = TRY(matrices_of(checkpoint));
  sample.layers = layers_for(sample.matrices, spec, layer_bytes);
  const std::string block_count = spec.architecture + ".block_count";
  formats::GgufWriter writer;
  for (const auto& [key, value] : checkpoint.metadata().values())
    if (key != block_count && !key.starts_with("tokenizer.") && !key.starts_with("split."))
      writer.copy(key, value);
  writer.set_integer(block_count, static_cast<uint32_t>(sample.layers));

  std::map<core::DType, int64_t> values_max;
  for (const CheckpointMatrix& m : sample.matrices)
    if (layer_of(m.name) < sample.layers)
      values_max[m.view.type] = std::max(values_max[m.view.type], m.view.values());
  // All tensors of a type begin at the same bytes, behind the header.
  std::vector<std::byte> bytes = writer.file();
  std::map<core::DType, size_t> offsets;
  for (const auto& [type, values] : values_max) {
    bytes.resize(static_cast<size_t>(core::round_up(std::ssize(bytes), core::kCacheLineBytes)));
    offsets[type] = bytes.size();
    const std::vector<std::byte> weights = sample_weights(type, values);
    bytes.insert(bytes.end(), weights.begin(), weights.end());
  }
  formats::GgufFile file = TRY(formats::read_gguf(formats::memory_source(std::move(bytes))));
  for (const CheckpointMatrix& m : sample.matrices) {
    if (layer_of(m.name) >= sample.layers) continue;
    file.tensors.push_back({m.name, m.view});
    file.tensors.back().view.data = file.source->bytes().data() + offsets[m.view.type];
  }
  std::vector<formats::GgufFile> files;
  files.push_back(std::move(file));
  sample.checkpoint = TRY(formats::Checkpoint::join(std::move(files), {"sample"}));
  return sample;
}

}  // namespace sluice::apps
