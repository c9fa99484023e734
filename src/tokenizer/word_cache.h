// Ids of the words seen last: a table of a fixed size in which a word has one place.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/text_index.h"

namespace sluice::tokenizer {

class WordCache {
 public:
  static constexpr size_t kWords = 1 << 14;
  static constexpr size_t kWordBytesMax = 30;
  static constexpr size_t kWordIdsMax = 8;

  // Empty where the word is not there. Valid until the next insert.
  std::span<const int32_t> find(std::string_view word) const {
    if (word.size() > kWordBytesMax) return {};
    const Entry& e = entries_[place_of(word)];
    if (e.size_bytes != word.size() || std::memcmp(e.bytes, word.data(), word.size()) != 0)
      return {};
    return {e.ids, e.ids_count};
  }

  // Words that are too long for an entry are not kept.
  void insert(std::string_view word, std::span<const int32_t> ids) {
    if (word.size() > kWordBytesMax || ids.size() > kWordIdsMax || ids.empty()) return;
    Entry& e = entries_[place_of(word)];
    e.size_bytes = static_cast<uint8_t>(word.size());
    e.ids_count = static_cast<uint8_t>(ids.size());
    std::memcpy(e.bytes, word.data(), word.size());
    std::memcpy(e.ids, ids.data(), ids.size_bytes());
  }

 private:
  struct alignas(64) Entry {
    uint8_t size_bytes = 0;
    uint8_t ids_count = 0;
    char bytes[kWordBytesMax];
    int32_t ids[kWordIdsMax];
  };
  static_assert(sizeof(Entry) == 64, "one cache line");

  static size_t place_of(std::string_view word) { return hash_bytes(word) % kWords; }

  std::vector<Entry> entries_ = std::vector<Entry>(kWords);
};

}  // namespace sluice::tokenizer
