#include "tokenizer/decoder.h"

#include "core/utf8.h"

namespace sluice::tokenizer {
void Utf8Stream::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    if (!pending_.empty()) {
      const char lead = pending_.front();
      const bool continues = pending_.size() == 1 ? core::may_follow_utf8_lead(lead, c)
                                                  : core::is_utf8_continuation(c);
      if (continues) {
        pending_.push_back(c);
        if (std::ssize(pending_) == core::utf8_bytes_from_lead(lead)) {
          out += pending_;
          pending_.clear();
        }
        continue;
      }
      finish(out);
    }
    switch (core::utf8_bytes_from_lead(c)) {
      case 0:
        out += core::kReplacementCharacter;
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
  if (!pending_.empty()) out += core::kReplacementCharacter;
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
