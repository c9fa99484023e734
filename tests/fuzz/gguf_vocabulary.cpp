// Any GGUF metadata are either a vocabulary or an Error; a vocabulary encodes any text.
#include "tokenizer/gguf_vocabulary.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "tokenizer/decoder.h"
#include "tokenizer/encoder.h"

namespace sluice::tokenizer {
namespace {

void run(std::span<const std::byte> bytes) {
  const auto file = formats::read_gguf(formats::memory_source({bytes.begin(), bytes.end()}));
  if (!file.ok()) return;
  const auto vocabulary = read_gguf_vocabulary(file->metadata);
  if (!vocabulary.ok()) {
    ASSERT(!vocabulary.error().message.empty(), "an error without a message");
    return;
  }
  Encoder encoder(*vocabulary);
  const std::string_view as_text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const std::string_view text : {as_text, std::string_view("ab  ab\u00e9 <s>")}) {
    const auto ids = encoder.encode(text, {.surrounding_ids = SurroundingIds::kAdd});
    for (const TokenId id : ids)
      ASSERT(vocabulary->contains(id), "id {} of {}", id, vocabulary->size());
    decode(*vocabulary, ids, {.start = DecodeStart::kText});
  }
}

}  // namespace
}  // namespace sluice::tokenizer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::tokenizer::run(std::as_bytes(std::span(data, size)));
  return 0;
}
