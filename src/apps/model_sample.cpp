#include "apps/model_sample.h"

#include <algorithm>
#include <charconv>

#include "apps/random_weights.h"
#include "core/math.h"
#include "formats/gguf_writer.h"

namespace sluice::apps {
namespace {

constexpr int32_t kLayersMin = 4;

// N of "blk.N.…"; -1 for tensors of no layer.
int32_t layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor.starts_with(kPrefix)) return -1;
  int32_t layer = -1;
  std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

int32_t layers_for(const formats::Checkpoint& checkpoint, int32_t layers, int64_t bytes) {
  int64_t first_layer = 1;
  for (const auto& [name, view] : checkpoint.tensors())
    if (layer_of(name) == 0) first_layer += view.bytes();
  const int64_t wanted = core::div_ceil(bytes, first_layer);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, std::min(kLayersMin, layers), layers));
}

}  // namespace

core::Result<ModelSample> sample_model(const formats::Checkpoint& checkpoint,
                                       const model::Spec& spec, int64_t layer_bytes) {
  ModelSample sample;
  sample.layers = layers_for(checkpoint, spec.layers, layer_bytes);
  const std::string block_count = spec.architecture + ".block_count";
  formats::GgufWriter writer;
  for (const auto& [key, value] : checkpoint.metadata().values())
    if (key != block_count && !key.starts_with("tokenizer.") && !key.starts_with("split."))
      writer.copy(key, value);
  writer.set_integer(block_count, static_cast<uint32_t>(sample.layers));
  formats::GgufFile file = TRY(formats::read_gguf(formats::memory_source(writer.file())));
  std::map<core::DType, int64_t> values_max;
  for (const auto& [name, view] : checkpoint.tensors()) {
    if (layer_of(name) >= sample.layers) continue;
    file.tensors.push_back({name, view});
    values_max[view.type] = std::max(values_max[view.type], view.values());
  }
  for (const auto& [type, values] : values_max) sample.data[type] = random_weights(type, values);
  for (formats::NamedTensor& tensor : file.tensors)
    tensor.view.data = sample.data[tensor.view.type].data();
  std::vector<formats::GgufFile> files;
  files.push_back(std::move(file));
  sample.checkpoint = TRY(formats::Checkpoint::join(std::move(files), {"sample"}));
  return sample;
}

}  // namespace sluice::apps
