// Money in integers. One unit of the currency is 10^9 nano-units; nothing is ever a float.
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

namespace sluice::contract {

struct NanoMoney {
  int64_t nano = 0;  // ± 9.2 · 10^9 units of the currency
  auto operator<=>(const NanoMoney&) const = default;
  NanoMoney operator+(NanoMoney other) const { return {nano + other.nano}; }
  NanoMoney operator-(NanoMoney other) const { return {nano - other.nano}; }
};

// What is counted. A price names one of them, a usage line has one of them.
enum class Unit : uint8_t {
  kPromptToken,        // of the prompt, computed
  kCachedPromptToken,  // of the prompt, found in a prefix cache
  kOutputToken,        // without the reasoning tokens
  kReasoningToken,
  kComputeMicrosecond,  // of own compute
};
inline constexpr int kUnits = 5;
std::string_view to_text(Unit unit);  // "prompt_token"

// Nano-units of money for one million of a unit: 0.15 a million tokens is 150'000'000.
struct Rate {
  int64_t nano_per_million = 0;
  auto operator<=>(const Rate&) const = default;
};

// quantity · rate / 10^6, rounded half up, once: an amount of a usage line is this and no other.
// ASSERTs quantity ≥ 0, rate ≥ 0 and that the amount fits.
NanoMoney amount_of(int64_t quantity, Rate rate);

}  // namespace sluice::contract
