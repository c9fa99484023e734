// Any bytes are either a model or an Error: the spec, the tensors that it asks for, a step. What a
// file makes a load take is bounded by the file.
#include "model/model.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/checkpoint.h"
#include "model/single_sequence.h"

namespace sluice::model {
namespace {

constexpr int64_t kFloatsMax = 1 << 24;  // of logits and activations of the steps run here

void run(std::vector<std::byte> bytes) {
  const auto file_bytes = static_cast<int64_t>(bytes.size());
  auto file = formats::read_gguf(formats::memory_source(std::move(bytes)));
  if (!file.ok()) return;
  std::vector<formats::GgufFile> files;
  files.push_back(std::move(*file));
  const auto checkpoint = formats::Checkpoint::join(std::move(files), {"fuzz.gguf"});
  if (!checkpoint.ok()) return;
  const auto model = Model::load(
      **checkpoint, {.threads = 1, .step_tokens_max = 2, .arithmetic = Arithmetic::kExact});
  if (!model.ok()) {
    ASSERT(!model.error().message.empty(), "an error without a message");
    return;
  }
  const MemoryPlan& plan = (*model)->memory_plan();
  // A vector of 2.6 bits a value becomes floats, each rounded up to a line of the cache.
  ASSERT(plan.weight_bytes <= 64 * file_bytes, "{} bytes of weights from a file of {}",
         plan.weight_bytes, file_bytes);
  const int32_t vocab = (*model)->spec().vocab;
  if (vocab > kFloatsMax / 2 || plan.kv_page_bytes > kFloatsMax) return;
  (*model)->allocate_kv(1).value();
  SingleSequence sequence(**model, 0, 2);
  std::vector<float> logits(static_cast<size_t>(vocab));
  const std::vector<int32_t> ids = {0, vocab - 1};
  sequence.append({.ids = ids, .chunk = 2, .logit_count = 1}, logits.data());
}

}  // namespace
}  // namespace sluice::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  sluice::model::run({bytes, bytes + size});
  return 0;
}
