// Any bytes are either a checkpoint or an Error; metadata getters and tensor bytes stay in bounds.
#include <cstddef>
#include <cstdint>

#include "formats/checkpoint.h"

namespace sluice::formats {
namespace {

// Reads what a model would: every value by every getter, every tensor's first and last byte.
int64_t touch(const Checkpoint& checkpoint) {
  int64_t sum = 0;
  const Metadata& metadata = checkpoint.metadata();
  for (const auto& [key, value] : metadata.values()) {
    sum += metadata.integer(key).ok() + metadata.number(key).ok() + metadata.flag(key).ok();
    if (const auto text = metadata.text(key); text.ok() && !text->empty()) sum += text->back();
    if (const auto found = metadata.strings(key); found.ok())
      for (const std::string_view s : *found) sum += s.empty() ? 0 : s.back();
    if (const auto found = metadata.integers(key); found.ok())
      sum += static_cast<int64_t>(found->size());
    if (const auto found = metadata.floats(key); found.ok())
      sum += static_cast<int64_t>(found->size());
  }
  for (const auto& [name, view] : checkpoint.tensors())
    sum += std::to_integer<int>(view.data[0]) + std::to_integer<int>(view.data[view.bytes() - 1]);
  return sum;
}

void run(std::vector<std::byte> bytes) {
  auto file = read_gguf(memory_source(std::move(bytes)));
  if (!file.ok()) {
    ASSERT(!file.error().message.empty(), "an error without a message");
    return;
  }
  std::vector<GgufFile> files;
  files.push_back(std::move(*file));
  const auto checkpoint = Checkpoint::join(std::move(files), {"fuzz.gguf"});
  [[maybe_unused]] static volatile int64_t sink;
  if (checkpoint.ok()) sink = touch(**checkpoint);
}

}  // namespace
}  // namespace sluice::formats

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  sluice::formats::run({bytes, bytes + size});
  return 0;
}
