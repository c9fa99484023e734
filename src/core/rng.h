// Random numbers as a function of (seed, position): nothing to save, nothing to restore.
#pragma once

#include <cstdint>

namespace sluice::core {

// SplitMix64's finalizer (Steele, Lea, Flood 2014) over a Weyl sequence: one well-mixed 64-bit
// number for each (seed, position).
constexpr uint64_t random_bits(uint64_t seed, uint64_t position) {
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  };
  return mix(mix(seed + 0x9e3779b97f4a7c15ull) + (position + 1) * 0x9e3779b97f4a7c15ull);
}

// Uniform in [0, 1), 53 bits.
constexpr double random_unit(uint64_t seed, uint64_t position) {
  return static_cast<double>(random_bits(seed, position) >> 11) * 0x1.0p-53;
}

// A sequence for tests and simulations: the same function, counting.
class Rng {
 public:
  explicit Rng(uint64_t seed) : seed_(seed) {}
  uint64_t bits() { return random_bits(seed_, position_++); }
  double unit() { return random_unit(seed_, position_++); }
  int64_t below(int64_t bound) { return static_cast<int64_t>(unit() * static_cast<double>(bound)); }

 private:
  uint64_t seed_;
  uint64_t position_ = 0;
};

}  // namespace sluice::core
