#include "tokenizer/decoder.h"

namespace sluice::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// The bytes that may follow: Unicode 15, table 3-7.
struct ByteRange {
  unsigned char first;
  unsigned char last;
};

// Bytes of the character that starts with `lead`; 0 where none does.
int size_from_lead(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

ByteRange second_byte_range(unsigned char lead) {
  switch (lead) {
    case 0xe0:
      return {0xa0, 0xbf};
    case 0xed:
      return {0x80, 0x9f};
    case 0xf0:
      return {0x90, 0xbf};
    case 0xf4:
      return {0x80, 0x8f};
    default:
      return {0x80, 0xbf};
  }
}

}  // namespace

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (!pending_.empty()) {
      const auto lead = static_cast<unsigned char>(pending_.front());
      const ByteRange range =
          pending_.size() == 1 ? second_byte_range(lead) : ByteRange{0x80, 0xbf};
      if (byte >= range.first && byte <= range.last) {
        pending_.push_back(c);
        if (std::ssize(pending_) == size_from_lead(lead)) {
          out += pending_;
          pending_.clear();
        }
        continue;
      }
      finish(out);
    }
    switch (size_from_lead(byte)) {
      case 0:
        out += kReplacement;
        break;
      case 1:
        out.push_back(c);
        break;
      default:
        pending_.push_back(c);
    }
  }
}

void Utf8Stream::finish(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
}

StreamDecoder::StreamDecoder(const Vocabulary& vocabulary, DecodeOptions options)
    : vocabulary_(&vocabulary),
      special_(options.special),
      drops_space_(options.start == DecodeStart::kText && vocabulary.adds_space_prefix()) {}

std::string StreamDecoder::push(TokenId id) {
  std::string out;
  const bool is_special = vocabulary_->is_special(id);
  if (is_special && special_ == SpecialOutput::kSkip) return out;
  std::string_view bytes = vocabulary_->bytes(id);
  if (!is_special && drops_space_ && !bytes.empty()) {
    if (bytes.front() == ' ') bytes.remove_prefix(1);
    drops_space_ = false;
  }
  utf8_.push(bytes, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  utf8_.finish(out);
  return out;
}

std::string decode(const Vocabulary& vocabulary, std::span<const TokenId> ids,
                   DecodeOptions options) {
  StreamDecoder decoder(vocabulary, options);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text += decoder.finish();
}

}  // namespace sluice::tokenizer
