// One file of a journal, mapped. Who may write it holds the lock on the folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "store/journal_format.h"

namespace sluice::store {

// Owns an open file.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int number() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

class Segment {
 public:
  enum class Access : uint8_t { kRead, kWrite };

  // A new file, all of it allocated on the disk (kIo where it has no room), without a head.
  static core::Result<Segment> create(const std::string& path, int64_t bytes);
  // kInvalid where the head is not one.
  static core::Result<Segment> open(const std::string& path, Access access);

  Segment() = default;
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  // Writes the head and gives the file the name that its number says.
  core::Result<void> name(const std::string& folder, SegmentHead head);

  const std::string& path() const { return path_; }
  SegmentHead head() const;
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_bytes_)}; }
  std::byte* at(int64_t offset) { return data_ + offset; }  // Access::kWrite
  int64_t size_bytes() const { return size_bytes_; }

  // Stores a first word, after which the record or the seal is there. What was written to at()
  // before is there with it.
  void commit(int64_t offset, uint64_t word);

  int64_t durable_offset() const;           // by the marks; kSegmentHeadBytes at least
  void set_durable_offset(int64_t offset);  // the mark itself reaches the disk with the next sync
  core::Result<void> sync() const;          // waits for the disk

  // Cuts the file to `offset` and seals it there.
  core::Result<void> seal_and_cut(int64_t offset);

 private:
  core::Result<void> map(int64_t bytes, Access access);

  FileDescriptor file_;
  std::string path_;
  std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

// Whether a file is one to which no byte of a head has been written, or none that reached the disk.
bool has_empty_head(const std::string& path);

// The numbers of a folder's segments, ascending.
core::Result<std::vector<uint64_t>> segment_numbers(const std::string& folder);
std::string segment_path(const std::string& folder, uint64_t number);

core::Error io_error(const std::string& what);  // with errno's text

}  // namespace sluice::store
