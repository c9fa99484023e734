// Texts that provoke tokenizers: every class of character, runs, contractions, broken UTF-8.
#pragma once

#include <iterator>
#include <string>

#include "core/rng.h"
#include "core/utf8.h"
#include "tokenizer/unicode.h"

namespace sluice::tokenizer {

inline uint32_t random_code_point(core::Rng& rng) {
  // Assigned in every Unicode version of the last ten years, so that libraries agree on them.
  constexpr uint32_t kChosen[] = {
      ' ',     ' ',     ' ',    '\n',   '\r',     '\t',   0x0b,   0x85,   0xa0,   0x1680,  0x2003,
      0x2028,  0x3000,  0x200b, 0x200d, 0xfeff,   0,      0x7f,   0xad,   '\'',   '\'',    '"',
      '<',     '|',     '_',    '=',    '$',      '.',    '/',    '-',    '0',    '7',     0x0664,
      0xbd,    0x2167,  0x4e00, 0x9fa5, 0x9fa6,   0x3042, 0x30a2, 0x30ff, 0xac00, 0xd55c,  0x1100,
      0x1161,  0x11a8,  0x300,  0x301,  0x308,    0x327,  0x5d0,  0x5b0,  0x627,  0x64b,   0x924,
      0x94d,   0xe01,   0xe48,  0xe9,   0xdf,     0x17f,  0x1c5,  0x2b0,  0x2d0,  0x20ac,  0x2190,
      0x221e,  0x2018,  0x201f, 0x3001, 0x3002,   0xff0c, 0xff21, 0xff41, 0xfb01, 0x1f600, 0x1f468,
      0x1d400, 0x20000, 0xe000, 0x378,  0x10ffff, 0x3c9,  0x416,  0x1e9e, 0xfffd};
  const int64_t kind = rng.below(10);
  if (kind < 4) return 'a' + static_cast<uint32_t>(rng.below(26));
  if (kind < 5) return 'A' + static_cast<uint32_t>(rng.below(26));
  return kChosen[rng.below(std::size(kChosen))];
}

inline std::string random_text(core::Rng& rng, int64_t pieces) {
  constexpr const char* kWords[] = {"'s",   "'T",   "'re",  "'VE", "'ll",   "don't",
                                    "the ", "\r\n", "  ",   "123", "1 234", "...",
                                    "://",  "</s>", "中文", "，",  "ﬁ"};
  std::string text;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t kind = rng.below(12);
    if (kind == 0) {
      text += kWords[rng.below(std::size(kWords))];
      continue;
    }
    const uint32_t c = random_code_point(rng);
    const int64_t repeats = kind == 1 ? 1 + rng.below(9) : 1;
    for (int64_t r = 0; r < repeats; ++r) core::append_utf8(c, text);
  }
  return text;
}

// The same with bytes that are not UTF-8.
inline std::string random_bytes_text(core::Rng& rng, int64_t pieces) {
  std::string text = random_text(rng, pieces);
  for (int64_t i = 0; i < pieces / 4 + 1; ++i)
    text.insert(static_cast<size_t>(rng.below(std::ssize(text) + 1)), 1,
                static_cast<char>(rng.below(256)));
  return text;
}

}  // namespace sluice::tokenizer
