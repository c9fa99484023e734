#include "formats/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <sys/file.h>
#include <sys/stat.h>

namespace sluice::formats {
namespace {

std::string partial_of(const std::string& path) {
  return path + ".partial";
}

core::Error io_error(const std::string& path, const char* what) {
  return {core::ErrorCode::kIo, fmt::format("'{}': {}: {}", path, what, std::strerror(errno))};
}

}  // namespace

core::Result<std::unique_ptr<OutputFile>> OutputFile::open(const std::string& path) {
  const std::string partial = partial_of(path);
  const int descriptor = ::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return io_error(partial, "cannot be opened for writing");
  std::unique_ptr<OutputFile> file(new OutputFile(path, descriptor));
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0)
    return core::invalid("'{}': another process is writing it", partial);
  return file;
}

OutputFile::OutputFile(std::string path, int descriptor)
    : path_(std::move(path)), partial_path_(partial_of(path_)), descriptor_(descriptor) {}

OutputFile::~OutputFile() {
  ::close(descriptor_);
}

core::Error OutputFile::failed(const char* what) const {
  return io_error(partial_path_, what);
}

core::Result<int64_t> OutputFile::size_bytes() const {
  struct stat status;
  if (fstat(descriptor_, &status) != 0) return failed("its size is not known");
  return static_cast<int64_t>(status.st_size);
}

core::Result<void> OutputFile::resize(int64_t bytes) {
  if (ftruncate(descriptor_, bytes) != 0) return failed("cannot be resized");
  return {};
}

core::Result<void> OutputFile::write(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return failed("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(done));
    offset += done;
  }
  return {};
}

core::Result<void> OutputFile::read(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t done = pread(descriptor_, out.data(), out.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failed("cannot be read");
    if (done == 0)
      return core::invalid("'{}': {} bytes missing at offset {}", partial_path_, out.size(),
                           offset);
    out = out.subspan(static_cast<size_t>(done));
    offset += done;
  }
  return {};
}

core::Result<void> OutputFile::publish() {
  if (fsync(descriptor_) != 0) return failed("cannot be synced");
  if (std::rename(partial_path_.c_str(), path_.c_str()) != 0) return failed("cannot be renamed");
  return {};
}

}  // namespace sluice::formats
