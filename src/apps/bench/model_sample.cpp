#include "apps/bench/model_sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "apps/bench/random_weights.h"
#include "core/buffer.h"
#include "core/math.h"
#include "formats/gguf_writer.h"
#include "kernels/ops.h"

namespace sluice::apps {
namespace {

constexpr int32_t kLayersMin = 4;
constexpr int32_t kExpertLayersMin = 2;  // one in the middle

// What a norm brings into a matrix, times the matrix's own values (rms). Random blocks have large
// ones, by the type 1 to 1,000. With small products scores and gates stay near 1, as trained
// weights' do: where e^x is no normal number, or the largest score moves with every block of
// positions, a step takes several times as long.
constexpr double kProductRms = 1.0 / 64;

double rms_of(core::DType type, const std::vector<std::byte>& weights) {
  constexpr int64_t kProbed = 1 << 16;  // whole blocks of every type
  const int64_t blocks = std::ssize(weights) / core::info(type).block_bytes;
  const int64_t values = std::min(kProbed, blocks * core::info(type).block_values);
  std::vector<float> decoded(static_cast<size_t>(values));
  kernels::decode(type, weights.data(), values, decoded.data());
  double squares = 0;
  for (const float v : decoded) squares += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(squares / static_cast<double>(values));
}

void scale_floats(std::vector<std::byte>& floats, double factor) {
  for (size_t at = 0; at < floats.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, floats.data() + at, sizeof value);
    value *= static_cast<float>(factor);
    std::memcpy(floats.data() + at, &value, sizeof value);
  }
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
  const std::string draft_count = spec.architecture + ".nextn_predict_layers";
  formats::GgufWriter writer;
  for (const auto& [key, value] : checkpoint.metadata().values())
    if (key != block_count && key != draft_count && !key.starts_with("tokenizer.") &&
        !key.starts_with("split."))
      writer.copy(key, value);
  writer.set_integer(block_count, static_cast<uint32_t>(sample.layers));

  std::map<core::DType, int64_t> values_max;
  for (const CheckpointMatrix& m : sample.matrices)
    if (layer_of(m.name) < sample.layers)
      values_max[m.view.type] = std::max(values_max[m.view.type], m.view.values());
  std::map<core::DType, std::vector<std::byte>> weights;
  double largest_rms = 1;
  for (const auto& [type, values] : values_max) {
    weights[type] = random_weights(type, values);
    if (type != core::DType::kF32) largest_rms = std::max(largest_rms, rms_of(type, weights[type]));
  }
  scale_floats(weights[core::DType::kF32], kProductRms / largest_rms);  // norms and biases
  // All tensors of a type begin at the same bytes, behind the header.
  std::vector<std::byte> bytes = writer.file();
  std::map<core::DType, size_t> offsets;
  for (const auto& [type, values] : weights) {
    bytes.resize(static_cast<size_t>(core::round_up(std::ssize(bytes), core::kCacheLineBytes)));
    offsets[type] = bytes.size();
    bytes.insert(bytes.end(), values.begin(), values.end());
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
