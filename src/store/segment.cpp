#include "store/segment.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/assert.h"

namespace sluice::store {
namespace {

constexpr std::string_view kSuffix = ".journal";
constexpr size_t kNumberDigits = 10;

uint64_t load(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(at), __ATOMIC_ACQUIRE);
}
void store(std::byte* at, uint64_t word) {
  __atomic_store_n(reinterpret_cast<uint64_t*>(at), word, __ATOMIC_RELEASE);
}

// Word by word, since another thread may be writing it; the check finds a mixture.
DurableMark read_mark(const std::byte* at) {
  return {.count = load(at),
          .offset = static_cast<int64_t>(load(at + offsetof(DurableMark, offset))),
          .check = load(at + offsetof(DurableMark, check))};
}

struct FoundMark {
  DurableMark mark = {.count = 0, .offset = kSegmentHeadBytes, .check = 0};
  size_t slot = kMarkOffsets.size() - 1;  // so that the first mark goes into the first slot
};

FoundMark newest_mark(const std::byte* segment) {
  FoundMark found;
  for (size_t slot = 0; slot < kMarkOffsets.size(); ++slot) {
    const DurableMark mark = read_mark(segment + kMarkOffsets[slot]);
    if (mark.check == check_of(mark) && mark.count > found.mark.count) found = {mark, slot};
  }
  return found;
}

}  // namespace

core::Error io_error(const std::string& what) {
  return {core::ErrorCode::kIo, fmt::format("{}: {}", what, std::strerror(errno))};
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : number_(std::exchange(other.number_, -1)) {}
FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}
FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) ::close(number_);
}

Segment::Segment(Segment&& other) noexcept
    : file_(std::move(other.file_)),
      path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}
Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}
Segment::~Segment() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(size_bytes_));
}

core::Result<Segment> Segment::create(const std::string& path, int64_t bytes) {
  Segment segment;
  segment.path_ = path;
  segment.file_ =
      FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!segment.file_.open()) return io_error(path);
  // Every block is taken now, so that no later write to the mapping finds the disk full.
  if (const int error = ::posix_fallocate(segment.file_.number(), 0, bytes); error != 0) {
    ::unlink(path.c_str());
    errno = error;
    return io_error(fmt::format("{}: no room for a segment of {} bytes", path, bytes));
  }
  TRY(segment.map(bytes, Access::kWrite));
  return segment;
}

core::Result<Segment> Segment::open(const std::string& path, Access access) {
  Segment segment;
  segment.path_ = path;
  const int mode = access == Access::kWrite ? O_RDWR : O_RDONLY;
  segment.file_ = FileDescriptor(::open(path.c_str(), mode | O_CLOEXEC));
  if (!segment.file_.open()) return io_error(path);
  struct stat status = {};
  if (::fstat(segment.file_.number(), &status) != 0) return io_error(path);
  if (status.st_size < kSegmentHeadBytes)
    return core::invalid("{}: {} bytes, a segment has {} at least", path, status.st_size,
                         kSegmentHeadBytes);
  TRY(segment.map(status.st_size, access));
  const SegmentHead head = segment.head();
  if (head.magic != kSegmentMagic || head.check != check_of(head))
    return core::invalid("{}: at offset 0: not the head of a journal's segment", path);
  return segment;
}

core::Result<void> Segment::map(int64_t bytes, Access access) {
  const int protection = access == Access::kWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data =
      ::mmap(nullptr, static_cast<size_t>(bytes), protection, MAP_SHARED, file_.number(), 0);
  if (data == MAP_FAILED) return io_error(path_);
  data_ = static_cast<std::byte*>(data);
  size_bytes_ = bytes;
  // So that the first touch of a page brings in that page and not, zeroed, as much as the kernel
  // reads ahead: up to megabytes, for which a record would wait.
  if (access == Access::kWrite) (void)::madvise(data, static_cast<size_t>(bytes), MADV_RANDOM);
  return {};
}

core::Result<void> Segment::name(const std::string& folder, SegmentHead head) {
  head.check = check_of(head);
  std::memcpy(data_, &head, sizeof head);
  const std::string path = segment_path(folder, head.number);
  if (::rename(path_.c_str(), path.c_str()) != 0) return io_error(path);
  path_ = path;
  return {};
}

SegmentHead Segment::head() const {
  SegmentHead head;
  std::memcpy(&head, data_, sizeof head);
  return head;
}

void Segment::commit(int64_t offset, uint64_t word) {
  store(data_ + offset, word);
}

int64_t Segment::durable_offset() const {
  return newest_mark(data_).mark.offset;
}

void Segment::set_durable_offset(int64_t offset) {
  const FoundMark newest = newest_mark(data_);
  DurableMark mark = {.count = newest.mark.count + 1, .offset = offset, .check = 0};
  mark.check = check_of(mark);
  std::byte* at = data_ + kMarkOffsets[(newest.slot + 1) % kMarkOffsets.size()];
  store(at, mark.count);
  store(at + offsetof(DurableMark, offset), static_cast<uint64_t>(mark.offset));
  store(at + offsetof(DurableMark, check), mark.check);
}

core::Result<void> Segment::sync() const {
  if (::fdatasync(file_.number()) != 0) return io_error(path_);
  return {};
}

core::Result<void> Segment::seal_and_cut(int64_t offset) {
  const uint64_t seal = kSealed;
  if (::pwrite(file_.number(), &seal, sizeof seal, offset) != sizeof seal ||
      ::ftruncate(file_.number(), offset + static_cast<int64_t>(sizeof seal)) != 0)
    return io_error(path_);
  return {};
}

bool has_empty_head(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::byte, kSegmentHeadBytes> head = {};
  if (!file.open() || ::pread(file.number(), head.data(), head.size(), 0) < 0) return false;
  return std::all_of(head.begin(), head.end(), [](std::byte b) { return b == std::byte{0}; });
}

core::Result<std::vector<uint64_t>> segment_numbers(const std::string& folder) {
  std::error_code error;
  std::vector<uint64_t> numbers;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.size() != kNumberDigits + kSuffix.size() || !name.ends_with(kSuffix)) continue;
    uint64_t number = 0;
    const char* end = name.data() + kNumberDigits;
    const auto parsed = std::from_chars(name.data(), end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) numbers.push_back(number);
  }
  if (error)
    return core::Error{core::ErrorCode::kIo, fmt::format("{}: {}", folder, error.message())};
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string segment_path(const std::string& folder, uint64_t number) {
  return fmt::format("{}/{:0{}}{}", folder, number, kNumberDigits, kSuffix);
}

}  // namespace sluice::store
