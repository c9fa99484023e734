// Text to number: open addressing over texts that someone else keeps.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace sluice::tokenizer {

// Multiply and fold, eight bytes at a time.
inline uint64_t hash_bytes(std::string_view text) {
  const auto mix = [](uint64_t hash, uint64_t word) {
    const auto product = static_cast<unsigned __int128>(hash ^ word) * 0x9e3779b97f4a7c15ull;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  uint64_t hash = text.size() + 0x2545f4914f6cdd1dull;
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    hash = mix(hash, word);
    text.remove_prefix(8);
  }
  uint64_t word = 0;
  if (!text.empty()) std::memcpy(&word, text.data(), text.size());
  return mix(hash, word);
}

class TextIndex {
 public:
  static constexpr int32_t kNone = -1;

  // False where the text is there already, with the number it had.
  bool insert(std::string_view text, int32_t number) {
    if (slots_[find_slot(text)].number != kNone) return false;
    if ((texts_ + 1) * 2 > slots_.size()) grow();
    slots_[find_slot(text)] = {text, number};
    ++texts_;
    return true;
  }
  int32_t find(std::string_view text) const { return slots_[find_slot(text)].number; }

 private:
  struct Slot {
    std::string_view text;
    int32_t number = kNone;
  };
  size_t find_slot(std::string_view text) const {
    const uint64_t mask = slots_.size() - 1;
    uint64_t slot = hash_bytes(text) & mask;
    while (slots_[slot].number != kNone && slots_[slot].text != text) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& s : old)
      if (s.number != kNone) slots_[find_slot(s.text)] = s;
  }

  std::vector<Slot> slots_ = std::vector<Slot>(2);  // a power of two, at most half full
  uint64_t texts_ = 0;
};

}  // namespace sluice::tokenizer
