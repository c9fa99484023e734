// Any bytes are either a config.json with a safetensors file or an Error, and what both give
// together is a model that loads and runs a token, or an Error. Input: config.json, a zero byte,
// the file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/single_sequence.h"

namespace sluice::model {
namespace {

constexpr int64_t kWeightsBytesMax = 1 << 20;  // what padding may make of a file's bytes

void run_token(const formats::Checkpoint& checkpoint) {
  if (checkpoint.manifest().weights_bytes > kWeightsBytesMax) return;
  const auto loaded = Model::load(checkpoint, {.threads = 1, .step_tokens_max = 1});
  if (!loaded.ok()) {
    ASSERT(!loaded.error().message.empty(), "an error without a message");
    return;
  }
  Model& model = **loaded;
  model.allocate_kv(1).value();
  std::vector<float> logits(static_cast<size_t>(model.spec().vocab));
  const int32_t ids[] = {0};
  SingleSequence(model, 0, 1).append({.ids = ids, .chunk = 1, .logit_count = 1}, logits.data());
}

void run(std::span<const std::byte> input) {
  const auto zero = std::find(input.begin(), input.end(), std::byte{0});
  const std::string_view config(reinterpret_cast<const char*>(input.data()),
                                static_cast<size_t>(zero - input.begin()));
  auto metadata = formats::metadata_of_config({.config = config, .tokenizer = config});
  if (!metadata.ok()) ASSERT(!metadata.error().message.empty(), "an error without a message");
  if (zero == input.end()) return;
  auto file = formats::read_safetensors(formats::memory_source({zero + 1, input.end()}));
  if (!file.ok()) ASSERT(!file.error().message.empty(), "an error without a message");
  if (!metadata.ok() || !file.ok()) return;
  formats::HuggingFaceFolder folder;
  folder.metadata = std::move(*metadata);
  folder.names = {"fuzz.safetensors"};
  for (const formats::NamedTensor& t : file->tensors)
    folder.tensors.push_back({formats::gguf_tensor_name(t.name), t.name, t.view});
  folder.files.push_back(std::move(*file));
  const auto checkpoint = formats::Checkpoint::of_folder(std::move(folder));
  if (checkpoint.ok()) run_token(**checkpoint);
}

}  // namespace
}  // namespace sluice::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::model::run(std::as_bytes(std::span(data, size)));
  return 0;
}
