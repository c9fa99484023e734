#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "core/assert.h"
#include "core/utf8.h"

namespace sluice::tokenizer {
namespace {

struct Decoded {
  uint32_t code_point;
  int32_t size_bytes;
};
Decoded decode(const char* begin, const char* end) {
  const core::Utf8Character c = core::decode_utf8({begin, end});
  return c.size_bytes > 0 ? Decoded{c.code_point, c.size_bytes} : Decoded{kInvalidCodePoint, 1};
}

CharClasses classes_of(uint32_t code_point) {
  if (code_point >= 0x4e00 && code_point <= 0x9fff) return kLetter;  // CJK ideographs
  if (code_point == kInvalidCodePoint) return 0;
  switch (utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return kSpace;
    default:
      return code_point == 0x85 ? kSpace : 0;
  }
}

// Starters that neither change under NFC nor combine with what is on their left. Not all of them:
// ranges of frequent scripts. A byte that is not UTF-8 stays what it is.
bool is_nfc_inert(uint32_t c) {
  return c < 0x300 || c == kInvalidCodePoint || (c >= 0x4e00 && c <= 0x9fff) ||
         (c >= 0x3000 && c <= 0x3029) || (c >= 0x3030 && c <= 0x3098) ||
         (c >= 0x309b && c <= 0x30ff) || (c >= 0xac00 && c <= 0xd7a3) ||
         (c >= 0x400 && c <= 0x482) || (c >= 0x2010 && c <= 0x203f) || (c >= 0xff01 && c <= 0xff5e);
}

void append_nfc(std::string_view text, std::string& out) {
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &raw,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  ASSERT(size >= 0, "utf8proc: {}", utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(raw), static_cast<size_t>(size));
}

}  // namespace

Char read_multibyte_char(const char* begin, const char* end) {
  const Decoded decoded = decode(begin, end);
  return {decoded.code_point, decoded.size_bytes, classes_of(decoded.code_point)};
}

int32_t char_size_bytes(const char* begin, const char* end) {
  return decode(begin, end).size_bytes;
}

const char* skip(const char* begin, const char* end, CharClasses classes) {
  while (begin < end) {
    const Char c = read_char(begin, end);
    if ((c.classes & classes) == 0) break;
    begin += c.size_bytes;
  }
  return begin;
}

const char* skip_none(const char* begin, const char* end, CharClasses classes) {
  while (begin < end) {
    const Char c = read_char(begin, end);
    if ((c.classes & classes) != 0) break;
    begin += c.size_bytes;
  }
  return begin;
}

const char* trailing_spaces(std::string_view text) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* start = end;
  while (start > begin) {
    const char* before = start - 1;
    while (before > begin && start - before < 4 && core::is_utf8_continuation(*before)) --before;
    const Char c = read_char(before, start);
    if ((c.classes & kSpace) == 0 || before + c.size_bytes != start) break;
    start = before;
  }
  return start;
}

bool is_surely_nfc(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    const Decoded decoded = decode(at, end);
    if (!is_nfc_inert(decoded.code_point)) return false;
    at += decoded.size_bytes;
  }
  return true;
}

// Only stretches with characters that may change are worked on: from the inert character before
// them, which may take them up, to the next one.
std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  const char* const end = text.data() + text.size();
  const char* pending = text.data();  // not in `out` yet
  const char* last_inert = pending;
  bool in_stretch = false;
  for (const char* at = pending; at < end;) {
    const Decoded decoded = decode(at, end);
    if (is_nfc_inert(decoded.code_point)) {
      if (in_stretch) {
        append_nfc({pending, at}, out);
        pending = at;
        in_stretch = false;
      }
      last_inert = decoded.code_point == kInvalidCodePoint ? at + 1 : at;
    } else if (!in_stretch) {
      out.append(pending, last_inert);
      pending = last_inert;
      in_stretch = true;
    }
    at += decoded.size_bytes;
  }
  if (in_stretch) {
    append_nfc({pending, end}, out);
  } else {
    out.append(pending, end);
  }
  return out;
}

}  // namespace sluice::tokenizer
