// Bytes on their way from or to a socket: written at the end, used up at the front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "core/assert.h"

namespace sluice::net {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(ByteBuffer&& other) noexcept
      : bytes_(std::move(other.bytes_)),
        capacity_(std::exchange(other.capacity_, 0)),
        begin_(std::exchange(other.begin_, 0)),
        end_(std::exchange(other.end_, 0)) {}
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    bytes_ = std::move(other.bytes_);
    capacity_ = std::exchange(other.capacity_, 0);
    begin_ = std::exchange(other.begin_, 0);
    end_ = std::exchange(other.end_, 0);
    return *this;
  }

  char* data() { return bytes_.get() + begin_; }
  const char* data() const { return bytes_.get() + begin_; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::string_view view() const { return {data(), size()}; }
  // Bytes that can be written at data() + size().
  size_t free() const { return capacity_ - end_; }

  // Makes room for at least `bytes` behind the content; grows by doubling.
  void reserve(size_t bytes) {
    if (free() >= bytes) return;
    const size_t used = size();
    const size_t wanted = used + bytes;
    if (wanted <= capacity_) {
      std::memmove(bytes_.get(), data(), used);
    } else {
      const size_t capacity = std::max(wanted, 2 * capacity_);
      std::unique_ptr<char[]> grown(new char[capacity]);
      if (used > 0) std::memcpy(grown.get(), data(), used);
      bytes_ = std::move(grown);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }
  // `bytes` were written at data() + size().
  void commit(size_t bytes) {
    ASSERT(bytes <= free(), "{} bytes written, {} free", bytes, free());
    end_ += bytes;
  }
  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    reserve(bytes.size());
    std::memcpy(data() + size(), bytes.data(), bytes.size());
    commit(bytes.size());
  }
  void consume(size_t bytes) {
    ASSERT(bytes <= size(), "consume {} of {} bytes", bytes, size());
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Takes out the bytes [from, to); what follows moves down.
  void erase(size_t from, size_t to) {
    ASSERT(from <= to && to <= size(), "erase [{}, {}) of {} bytes", from, to, size());
    if (from == to) return;
    std::memmove(data() + from, data() + to, size() - to);
    end_ -= to - from;
  }
  // Gives the memory back; the content is lost.
  void release() { *this = ByteBuffer(); }
  // For what is written again and again: the memory of small content stays.
  void release_if_large() {
    constexpr size_t kKeptBytesMax = 4096;
    if (capacity_ > kKeptBytesMax) return release();
    begin_ = end_ = 0;
  }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace sluice::net
