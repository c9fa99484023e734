#include "core/buffer.h"

#include <sys/mman.h>

#include "core/math.h"

namespace sluice::core {
namespace {

constexpr int64_t kHugePageBytes = 2 << 20;
constexpr int64_t kPageBytes = 4096;

}  // namespace

// A large mapping is asked for with one huge page to spare and trimmed to a huge page's boundary.
Buffer::Buffer(int64_t bytes) : bytes_(bytes) {
  ASSERT(bytes >= 0, "{} bytes", bytes);
  if (bytes == 0) return;
  const bool large = bytes >= 2 * kHugePageBytes;
  const int64_t size = round_up(bytes, kPageBytes);
  const int64_t mapped = large ? size + kHugePageBytes : size;
  void* p = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT(p != MAP_FAILED, "out of memory: mmap of {} bytes", mapped);
  auto* base = static_cast<std::byte*>(p);
  data_ = base;
  if (!large) return;
  const auto address = reinterpret_cast<intptr_t>(base);
  const int64_t head = round_up(address, kHugePageBytes) - address;
  data_ = base + head;
  if (head > 0) munmap(base, static_cast<size_t>(head));
  munmap(data_ + size, static_cast<size_t>(kHugePageBytes - head));  // head < kHugePageBytes
  madvise(data_, static_cast<size_t>(size), MADV_HUGEPAGE);
}

void Buffer::release() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(round_up(bytes_, kPageBytes)));
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace sluice::core
