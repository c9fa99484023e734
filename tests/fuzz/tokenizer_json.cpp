// Any bytes are either a tokenizer.json or an Error. What is read encodes any text, and its ids
// stream to the same text as at once. Input: the file, a zero byte, the text.
#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/decoder.h"
#include "tokenizer/encoder.h"

namespace sluice::tokenizer {
namespace {

void check_round_trip(const Vocabulary& vocabulary, Encoder& encoder, std::string_view text,
                      SpecialText special) {
  const auto ids = encoder.encode(text, {.special_text = special});
  ASSERT(ids == encoder.encode(text, {.special_text = special}), "the cache changes ids");
  for (const DecodeOptions options :
       {DecodeOptions{.special = SpecialOutput::kKeep}, DecodeOptions{}}) {
    StreamDecoder decoder(vocabulary, options);
    std::string streamed;
    for (const TokenId id : ids) {
      ASSERT(vocabulary.contains(id), "id {} of {}", id, vocabulary.size());
      streamed += decoder.push(id);
    }
    streamed += decoder.finish();
    ASSERT(streamed == decode(vocabulary, ids, options), "streamed '{}'", streamed);
  }
}

void run(std::string_view input) {
  const size_t zero = std::min(input.find('\0'), input.size());
  const std::string_view file = input.substr(0, zero);
  const std::string_view text = input.substr(std::min(zero + 1, input.size()));
  for (const std::string_view config : {std::string_view(), file}) {
    const auto vocabulary = read_tokenizer_json({.tokenizer_json = file, .config_json = config});
    if (!vocabulary.ok()) {
      ASSERT(!vocabulary.error().message.empty(), "an error without a message");
      continue;
    }
    Encoder encoder(*vocabulary);
    check_round_trip(*vocabulary, encoder, text, SpecialText::kParse);
    check_round_trip(*vocabulary, encoder, text, SpecialText::kPlain);
    check_round_trip(*vocabulary, encoder, file, SpecialText::kParse);
  }
}

}  // namespace
}  // namespace sluice::tokenizer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::tokenizer::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
