// Aligned memory with one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace sluice::core {

// What lies on its own line of the processor's cache: rows and matrices start on a multiple of
// this.
inline constexpr int64_t kCacheLineBytes = 64;

// Zeroed pages straight from the operating system, on a 2 MiB boundary where large, so that big
// weights and caches get huge pages. Ends the process when the system has no memory left: a budget
// was checked before.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t bytes);
  ~Buffer() { release(); }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  void release();
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace sluice::core
