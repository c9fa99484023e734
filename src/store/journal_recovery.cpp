#include "store/journal_recovery.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "store/segment.h"

namespace sluice::store {
namespace {

struct End {
  int64_t offset = kSegmentHeadBytes;
  uint64_t next_sequence = 0;
  bool sealed = false;
  bool torn = false;
};

// Reads a segment's records up to its seal or to what is not a record. Before the mark everything
// had reached the disk: what is not a record there is damage.
core::Result<End> find_end(const Segment& segment, const RecordDigest& digest) {
  const int64_t durable = segment.durable_offset();
  if (durable > segment.size_bytes())
    return core::invalid("{}: at offset {}: cut off, it had been written up to {}", segment.path(),
                         segment.size_bytes(), durable);
  End end = {.next_sequence = segment.head().first_sequence};
  while (true) {
    const RecordView view = read_record(
        segment.bytes(),
        {.offset = end.offset, .gateway = segment.head().gateway, .sequence = end.next_sequence},
        digest);
    if (view.found == Found::kRecord) {
      end.offset += record_bytes(view.head.bytes);
      ++end.next_sequence;
      continue;
    }
    if (end.offset < durable)
      return core::invalid(
          "{}: at offset {}: damaged: {}. It had been written up to {}; put back this file from a "
          "copy, or move it away and accept the loss of what is behind record {}",
          segment.path(), end.offset,
          view.found == Found::kDamaged ? view.damage : "a record is missing", durable,
          end.next_sequence - 1);
    end.sealed = view.found == Found::kEnd;
    end.torn = view.found == Found::kDamaged;
    return end;
  }
}

// Whether nothing of the segment was certain to be on the disk: a power loss explains what is
// missing before it.
bool never_durable(const std::string& path) {
  if (has_empty_head(path)) return true;
  const auto segment = Segment::open(path, Segment::Access::kRead);
  return segment.ok() && segment->durable_offset() <= kSegmentHeadBytes;
}

class Recoverer {
 public:
  explicit Recoverer(std::string folder) : folder_(std::move(folder)) {}

  core::Result<Recovered> run() {
    const std::vector<uint64_t> numbers = TRY(segment_numbers(folder_));
    for (const uint64_t number : numbers) {
      const std::string path = segment_path(folder_, number);
      found_.next_number = number + 1;
      if (lost_ || has_empty_head(path)) {
        TRY(drop(path));
      } else {
        TRY(take(path, number));
      }
    }
    found_.summary.last_sequence = next_sequence_.value_or(1) - 1;
    return std::move(found_);
  }

 private:
  core::Result<void> take(const std::string& path, uint64_t number) {
    Segment segment = TRY(Segment::open(path, Segment::Access::kWrite));
    const SegmentHead head = segment.head();
    if (head.number != number)
      return core::invalid("{}: at offset 0: this is segment {}", path, head.number);
    if (found_.gateway != 0 && head.gateway != found_.gateway)
      return core::invalid("{}: at offset 0: of gateway {:016x}, the journal's is {:016x}", path,
                           head.gateway, found_.gateway);
    if (next_sequence_ && head.first_sequence != *next_sequence_) return drop(path);

    const End end = TRY(find_end(segment, digest_));
    if (!end.sealed) TRY(segment.seal_and_cut(end.offset));
    if (segment.durable_offset() < end.offset) {
      TRY(segment.sync());
      segment.set_durable_offset(end.offset);
    }
    found_.gateway = head.gateway;
    found_.summary.torn |= end.torn;
    found_.summary.records += end.next_sequence - head.first_sequence;
    found_.segments.push_back({path, end.next_sequence - 1});
    next_sequence_ = end.next_sequence;
    return {};
  }

  // A segment that does not follow on the one before it.
  core::Result<void> drop(const std::string& path) {
    if (!never_durable(path))
      return core::invalid(
          "{}: at offset 0: does not begin with record {}; what stands before it is missing", path,
          next_sequence_.value_or(1));
    if (::unlink(path.c_str()) != 0) return io_error(path);
    lost_ = true;
    found_.summary.torn = true;
    return {};
  }

  std::string folder_;
  RecordDigest digest_;
  Recovered found_;
  std::optional<uint64_t> next_sequence_;
  bool lost_ = false;  // what follows stands behind a hole
};

}  // namespace

core::Result<Recovered> recover_journal(const std::string& folder) {
  return Recoverer(folder).run();
}

}  // namespace sluice::store
