#include "store/journal_reader.h"

#include <algorithm>
#include <utility>

namespace sluice::store {
namespace {

// The last segment that begins at `sequence` or before; segments without records share a beginning.
core::Result<Segment> segment_with(const std::string& folder, uint64_t sequence) {
  const std::vector<uint64_t> numbers = TRY(segment_numbers(folder));
  if (numbers.empty())
    return core::Error{core::ErrorCode::kNotFound, fmt::format("{}: no journal", folder)};
  uint64_t first = 0;
  for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
    Segment segment = TRY(Segment::open(segment_path(folder, *number), Segment::Access::kRead));
    first = segment.head().first_sequence;
    if (first <= sequence) return segment;
  }
  return core::invalid("{}: record {} has been deleted, the oldest here is {}", folder, sequence,
                       first);
}

}  // namespace

JournalReader::JournalReader(std::string folder, Segment segment)
    : folder_(std::move(folder)),
      segment_(std::move(segment)),
      gateway_(segment_.head().gateway),
      sequence_(segment_.head().first_sequence) {}

core::Result<std::unique_ptr<JournalReader>> JournalReader::open(std::string folder,
                                                                 uint64_t after_sequence) {
  Segment segment = TRY(segment_with(folder, after_sequence + 1));
  std::unique_ptr<JournalReader> reader(new JournalReader(std::move(folder), std::move(segment)));
  while (reader->sequence_ <= after_sequence) {
    const std::optional<JournalRecord> record = TRY(reader->next());
    if (!record)
      return core::invalid("{}: its last record is {}, and {} is said to have been read",
                           reader->folder_, reader->sequence_ - 1, after_sequence);
  }
  return reader;
}

core::Result<std::optional<JournalRecord>> JournalReader::next() {
  while (offset_ >= segment_.durable_offset()) {
    if (!ends_at(segment_.bytes(), offset_)) return std::optional<JournalRecord>();
    if (!TRY(enter_next_segment())) return std::optional<JournalRecord>();
  }
  const RecordView view = read_record(
      segment_.bytes(), {.offset = offset_, .gateway = gateway_, .sequence = sequence_}, digest_);
  if (view.found != Found::kRecord)
    return core::invalid("{}: at offset {}: damaged: {}", segment_.path(), offset_,
                         view.found == Found::kDamaged ? view.damage : "a record is missing");
  offset_ += record_bytes(view.head.bytes);
  ++sequence_;
  return std::optional(JournalRecord{.gateway = gateway_,
                                     .sequence = view.head.sequence,
                                     .kind = static_cast<contract::RecordKind>(view.head.kind),
                                     .version = view.head.version,
                                     .sha256 = view.head.sha256,
                                     .bytes = view.bytes});
}

// False: there is none yet.
core::Result<bool> JournalReader::enter_next_segment() {
  const std::vector<uint64_t> numbers = TRY(segment_numbers(folder_));
  const auto number = std::upper_bound(numbers.begin(), numbers.end(), segment_.head().number);
  if (number == numbers.end()) return false;
  Segment next = TRY(Segment::open(segment_path(folder_, *number), Segment::Access::kRead));
  const SegmentHead head = next.head();
  if (head.gateway != gateway_ || head.first_sequence != sequence_)
    return core::invalid("{}: begins with record {} of gateway {:016x}, expected {} of {:016x}",
                         next.path(), head.first_sequence, head.gateway, sequence_, gateway_);
  segment_ = std::move(next);
  offset_ = kSegmentHeadBytes;
  return true;
}

}  // namespace sluice::store
