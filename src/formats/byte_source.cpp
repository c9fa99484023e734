#include "formats/byte_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <sys/stat.h>

namespace sluice::formats {
namespace {

core::Error system_error(const std::string& path, const char* action) {
  const auto code = errno == ENOENT ? core::ErrorCode::kNotFound : core::ErrorCode::kIo;
  return {code, fmt::format("'{}': cannot {}: {}", path, action, std::strerror(errno))};
}

core::Error out_of_range(int64_t offset, size_t wanted, int64_t size) {
  return core::invalid("{} bytes at offset {} wanted, there are {} in all", wanted, offset, size);
}

bool inside(int64_t offset, size_t wanted, int64_t size) {
  return offset >= 0 && offset <= size && static_cast<int64_t>(wanted) <= size - offset;
}

class MappedFile final : public ByteSource {
 public:
  MappedFile(int descriptor, std::byte* data, int64_t size)
      : descriptor_(descriptor), data_(data), size_(size) {}
  ~MappedFile() override {
    if (data_ != nullptr) munmap(data_, static_cast<size_t>(size_));
    close(descriptor_);
  }

  int64_t size_bytes() const override { return size_; }
  std::span<const std::byte> bytes() const override { return {data_, static_cast<size_t>(size_)}; }

  core::Result<void> read(int64_t offset, std::span<std::byte> out) const override {
    if (!inside(offset, out.size(), size_)) return out_of_range(offset, out.size(), size_);
    while (!out.empty()) {
      const ssize_t got = pread(descriptor_, out.data(), out.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0)
        return core::Error{core::ErrorCode::kIo, fmt::format("read: {}", std::strerror(errno))};
      if (got == 0) return core::invalid("the file became shorter while it was read");
      out = out.subspan(static_cast<size_t>(got));
      offset += got;
    }
    return {};
  }

  // The pages are clean and private to no one: a neighbour on the same page is only read again.
  void release(std::span<const std::byte> range) const override {
    if (range.empty()) return;
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t begin = reinterpret_cast<uintptr_t>(range.data()) / page * page;
    const uintptr_t end = reinterpret_cast<uintptr_t>(range.data()) + range.size();
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  int descriptor_;
  std::byte* data_;
  int64_t size_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  int64_t size_bytes() const override { return static_cast<int64_t>(bytes_.size()); }
  std::span<const std::byte> bytes() const override { return bytes_; }
  core::Result<void> read(int64_t offset, std::span<std::byte> out) const override {
    if (!inside(offset, out.size(), size_bytes()))
      return out_of_range(offset, out.size(), size_bytes());
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  void release(std::span<const std::byte>) const override {}

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

core::Result<std::unique_ptr<ByteSource>> map_file(const std::string& path) {
  // Without waiting: a pipe would, for whoever writes to it.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return system_error(path, "open");
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor);
    return core::invalid("'{}' is not a regular file", path);
  }
  std::byte* data = nullptr;
  if (status.st_size > 0) {
    void* mapped =
        mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (mapped == MAP_FAILED) {
      const core::Error error = system_error(path, "map");
      close(descriptor);
      return error;
    }
    data = static_cast<std::byte*>(mapped);
  }
  return std::unique_ptr<ByteSource>(
      std::make_unique<MappedFile>(descriptor, data, int64_t{status.st_size}));
}

std::unique_ptr<ByteSource> memory_source(std::vector<std::byte> bytes) {
  return std::make_unique<MemorySource>(std::move(bytes));
}

}  // namespace sluice::formats
