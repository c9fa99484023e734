#include "store/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "contract/record_codec.h"
#include "core/assert.h"
#include "core/turns.h"
#include "store/journal_recovery.h"
#include "store/segment.h"

namespace sluice::store {
namespace {

constexpr int64_t kSegmentBytesMin =
    kSegmentHeadBytes + record_bytes(contract::kRecordBytesMax) + 8;

core::Result<FileDescriptor> lock_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return io_error(folder);
  FileDescriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.open()) return io_error(folder);
  if (::flock(file.number(), LOCK_EX | LOCK_NB) == 0) return file;
  if (errno != EWOULDBLOCK) return io_error(folder);
  return core::Error{core::ErrorCode::kLimit,
                     fmt::format("{}: another process has this journal open; a gateway needs a "
                                 "folder of its own",
                                 folder)};
}

// What makes a record be there.
uint64_t first_word(const RecordHead& head) {
  uint64_t word = 0;
  std::memcpy(&word, &head, sizeof word);
  return word;
}

}  // namespace

struct Journal::Impl {
  // A segment that is full; its records are not all on the disk yet.
  struct Full {
    std::shared_ptr<Segment> segment;
    int64_t end = 0;
  };

  JournalOptions options;
  const core::Clock* clock;
  FileDescriptor folder;  // holds the lock on it
  RecordDigest digest;
  uint64_t gateway = 0;
  uint64_t start = 0;
  Recovery recovery;

  mutable std::mutex mutex;  // of what follows
  std::shared_ptr<Segment> current;
  int64_t end = kSegmentHeadBytes;  // of the records in `current`
  uint64_t next_sequence = 1;
  uint64_t next_number = 1;
  std::vector<Full> full;
  std::vector<FinishedSegment> finished;  // in order, `full` ones among them
  std::optional<Segment> spare;           // made before it is needed
  std::string trouble;
  std::optional<int64_t> refused_at_ns;  // when the disk had no room
  bool broken = false;                   // the disk did not take what it had room for

  std::mutex flush_mutex;  // one flush at a time; taken before `mutex`

  std::condition_variable wake;
  std::mutex wake_mutex;
  bool closed = false;
  std::thread flusher;

  // Files without a name yet: the flusher's and rotate()'s.
  std::string spare_path() const { return options.folder + "/spare"; }
  std::string next_path() const { return options.folder + "/next"; }

  core::Result<void> begin(Recovered recovered);
  core::Result<void> rotate();
  bool write(RecordHead head, std::span<const std::byte> bytes);
  bool refuse(std::string why);
  core::Result<void> flush();
  core::Result<void> sync_full(const Full& done) const;
  void prepare_spare();
  void flush_until_closed();

  template <typename Record>
  bool append(contract::RecordKind kind, const Record& record) {
    std::byte bytes[contract::kRecordBytesMax];
    const std::optional<size_t> size = contract::encode(record, bytes);
    if (!size) return refuse(fmt::format("a record of over {} bytes", contract::kRecordBytesMax));
    const std::span<const std::byte> canonical(bytes, *size);
    RecordHead head = {.bytes = static_cast<uint32_t>(*size),
                       .kind = static_cast<uint8_t>(kind),
                       .version = contract::kRecordVersion,
                       .gateway = gateway};
    head.sha256 = digest.of(head, canonical);
    return write(head, canonical);
  }
};

core::Result<void> Journal::Impl::begin(Recovered recovered) {
  gateway = recovered.gateway != 0 ? recovered.gateway : options.gateway_if_new;
  recovery = recovered.summary;
  next_sequence = recovery.last_sequence + 1;
  start = next_number = recovered.next_number;
  finished = std::move(recovered.segments);
  TRY(rotate());
  return flush();
}

// Goes on in a new segment. Under `mutex`.
core::Result<void> Journal::Impl::rotate() {
  Segment next =
      spare ? std::move(*spare) : TRY(Segment::create(next_path(), options.segment_bytes));
  spare.reset();
  TRY(next.name(options.folder, {.gateway = gateway,
                                 .number = next_number,
                                 .first_sequence = next_sequence,
                                 .created_unix_ns = clock->unix_ns()}));
  ++next_number;
  if (current) {
    if (end + 8 <= current->size_bytes()) current->commit(end, kSealed);
    full.push_back({current, end});
    finished.push_back({current->path(), next_sequence - 1});
  }
  current = std::make_shared<Segment>(std::move(next));
  end = kSegmentHeadBytes;
  return {};
}

bool Journal::Impl::refuse(std::string why) {
  const std::lock_guard lock(mutex);
  trouble = std::move(why);
  return false;
}

bool Journal::Impl::write(RecordHead head, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex);
  if (broken) return false;
  const int64_t needed = record_bytes(head.bytes);
  if (end + needed > current->size_bytes()) {
    const int64_t now_ns = clock->now_ns();
    if (refused_at_ns && now_ns - *refused_at_ns < kFlushIntervalNs) return false;
    if (const auto rotated = rotate(); !rotated.ok()) {
      trouble = rotated.error().message;
      refused_at_ns = now_ns;
      return false;
    }
    refused_at_ns.reset();
    trouble.clear();
  }
  head.sequence = next_sequence++;
  std::byte* at = current->at(end);
  std::memcpy(at + sizeof head, bytes.data(), bytes.size());
  std::memcpy(at + sizeof(uint64_t), reinterpret_cast<const std::byte*>(&head) + sizeof(uint64_t),
              sizeof head - sizeof(uint64_t));
  current->commit(end, first_word(head));
  end += needed;
  return true;
}

core::Result<void> Journal::Impl::sync_full(const Full& done) const {
  TRY(done.segment->sync());
  done.segment->set_durable_offset(done.end);
  return {};
}

core::Result<void> Journal::Impl::flush() {
  const std::lock_guard one(flush_mutex);
  std::vector<Full> todo;
  {
    const std::lock_guard lock(mutex);
    if (broken) return core::Error{core::ErrorCode::kIo, trouble};
    todo.swap(full);
    todo.push_back({current, end});
  }
  const auto sync_all = [&]() -> core::Result<void> {
    for (const Full& each : todo) {
      const int64_t durable = each.segment->durable_offset();
      if (durable == each.end) continue;
      // The name of a new segment, before anything counts as durable in it.
      if (durable == kSegmentHeadBytes && ::fsync(folder.number()) != 0)
        return io_error(options.folder);
      TRY(sync_full(each));
    }
    return {};
  };
  const auto synced = sync_all();
  if (!synced.ok()) {
    // What the kernel has dropped after an error it does not try to write again.
    const std::lock_guard lock(mutex);
    broken = true;
    trouble = synced.error().message;
  }
  return synced;
}

// Half a segment before it is needed. Not under `mutex`: it may take the disk milliseconds.
void Journal::Impl::prepare_spare() {
  {
    const std::lock_guard lock(mutex);
    if (spare || end < current->size_bytes() / 2) return;
  }
  auto made = Segment::create(spare_path(), options.segment_bytes);
  if (!made.ok()) return;  // rotate() tries again and says what is wrong
  const std::lock_guard lock(mutex);
  spare = std::move(made).value();
}

void Journal::Impl::flush_until_closed() {
  core::wake_without_haste();
  std::unique_lock lock(wake_mutex);
  while (!wake.wait_for(lock, std::chrono::nanoseconds(kFlushIntervalNs), [&] { return closed; })) {
    (void)flush();  // append() and trouble() tell
    prepare_spare();
  }
}

Journal::Journal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

core::Result<std::unique_ptr<Journal>> Journal::open(JournalOptions options,
                                                     const core::Clock* clock) {
  ASSERT(options.gateway_if_new != 0, "a gateway's id is not 0");
  if (options.segment_bytes < kSegmentBytesMin || options.segment_bytes % kSegmentHeadBytes != 0)
    return core::invalid("{}: segments of {} bytes; a multiple of {}, {} at least", options.folder,
                         options.segment_bytes, kSegmentHeadBytes, kSegmentBytesMin);
  auto impl = std::make_unique<Impl>();
  impl->folder = TRY(lock_folder(options.folder));
  impl->options = std::move(options);
  impl->clock = clock;
  ::unlink(impl->spare_path().c_str());
  ::unlink(impl->next_path().c_str());
  Recovered recovered = TRY(recover_journal(impl->options.folder));
  TRY(impl->begin(std::move(recovered)));
  impl->flusher = std::thread([impl = impl.get()] { impl->flush_until_closed(); });
  return std::unique_ptr<Journal>(new Journal(std::move(impl)));
}

Journal::~Journal() {
  {
    const std::lock_guard lock(impl_->wake_mutex);
    impl_->closed = true;
  }
  impl_->wake.notify_one();
  impl_->flusher.join();
  (void)impl_->flush();
  (void)impl_->current->sync();  // the mark
  ::unlink(impl_->spare_path().c_str());
}

bool Journal::append(const contract::Reservation& reservation) {
  return impl_->append(contract::RecordKind::kReservation, reservation);
}
bool Journal::append(const contract::UsageEvent& event) {
  return impl_->append(contract::RecordKind::kUsage, event);
}
bool Journal::append(const contract::ChangeRecord& change) {
  return impl_->append(contract::RecordKind::kChange, change);
}
bool Journal::append(const contract::BalanceChange& change) {
  return impl_->append(contract::RecordKind::kBalance, change);
}

uint64_t Journal::gateway() const {
  return impl_->gateway;
}
uint64_t Journal::start() const {
  return impl_->start;
}
const Recovery& Journal::recovery() const {
  return impl_->recovery;
}

uint64_t Journal::last_sequence() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->next_sequence - 1;
}

core::Result<void> Journal::flush() {
  return impl_->flush();
}

std::string Journal::trouble() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->trouble;
}

int64_t Journal::bytes() const {
  const std::lock_guard lock(impl_->mutex);
  const size_t files = impl_->finished.size() + 1 + (impl_->spare ? 1 : 0);
  return static_cast<int64_t>(files) * impl_->options.segment_bytes;
}

core::Result<void> Journal::remove_applied(uint64_t sequence) {
  std::vector<std::string> paths;
  {
    const std::lock_guard lock(impl_->mutex);
    std::vector<FinishedSegment>& finished = impl_->finished;
    while (!finished.empty() && finished.front().last_sequence <= sequence) {
      paths.push_back(std::move(finished.front().path));
      finished.erase(finished.begin());
    }
  }
  // Without the lock that append() takes: a large file goes slowly.
  for (const std::string& path : paths)
    if (::unlink(path.c_str()) != 0) return io_error(path);
  return {};
}

}  // namespace sluice::store
