// Lays arrays out in one buffer: a first pass measures, a second one sets the pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/buffer.h"
#include "core/math.h"

namespace sluice::model {

class Placer {
 public:
  explicit Placer(std::byte* base) : base_(base) {}  // null: measures

  // *out = `count` values, on a cache line of their own.
  template <typename T>
  void place(T** out, int64_t count) {
    if (base_ != nullptr) *out = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += core::round_up(count * static_cast<int64_t>(sizeof(T)), core::kCacheLineBytes);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  int64_t bytes_ = 0;
};

}  // namespace sluice::model
