// What is left when a process dies at any instant, and when bytes of the files are lost or changed.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "core/rng.h"
#include "tests/store/dying_process.h"
#include "tests/store/journal_harness.h"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Memory that a child shares with the test.
struct Shared {
  std::atomic<uint64_t> returned{0};  // the last record whose append() has returned true
  std::atomic<uint64_t> refused{0};
  std::atomic<bool> failed{false};
};

// A child appends in a loop until it is killed; then a journal is opened here. Everything whose
// append had returned is there, in order, and appending goes on behind it, run after run.
TEST(JournalCrash, WhatWasTakenSurvivesKillAtAnyInstant) {
  const TestFolder folder;
  const core::SystemClock clock;
  core::Rng random(static_cast<uint64_t>(clock.unix_ns()));
  RecordProperty("seed", std::to_string(clock.unix_ns()));
  const SharedMemory<Shared> shared;
  uint64_t there = 0;
  for (int run = 0; run < 25; ++run) {
    const uint64_t wanted = there + static_cast<uint64_t>(random.below(1500));
    const uint64_t first = there + 1;
    shared->returned = there;
    const DyingProcess child([&] {
      const core::SystemClock child_clock;
      auto journal = Journal::open(small_segments(folder.journal()), &child_clock);
      shared->failed = !journal.ok();
      for (uint64_t i = first; journal.ok(); ++i) {
        if (!(*journal)->append(numbered(i))) shared->failed = true;
        shared->returned = i;
      }
    });
    while (shared->returned < wanted && !shared->failed && child.running())
      std::this_thread::yield();
    ASSERT_TRUE(child.running()) << "run " << run;
    child.kill();
    ASSERT_FALSE(shared->failed) << "run " << run;

    const auto journal = open_journal(folder.journal(), &clock);
    ASSERT_NE(journal, nullptr);
    there = journal->last_sequence();
    ASSERT_GE(there, shared->returned) << "run " << run;
    ASSERT_LE(there, shared->returned + 1) << "run " << run;
  }
  const Read read = read_all(folder.journal());
  ASSERT_EQ(read.error, "");
  ASSERT_EQ(read.records.size(), there);
  for (uint64_t i = 1; i <= there; ++i)
    ASSERT_TRUE(std::get<contract::Reservation>(read.records[i - 1]) == numbered(i)) << i;
}

// ---- damage -----------------------------------------------------------------------------------

constexpr uint64_t kRecords = 12;

std::vector<char> bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const fs::path& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
}

// The first segment of a journal with kRecords records that was closed.
std::vector<char> closed_segment(const TestFolder& folder) {
  const core::SystemClock clock;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    for (uint64_t i = 1; i <= kRecords; ++i) EXPECT_TRUE(journal->append(numbered(i)));
  }
  return bytes_of(segment_path(folder.journal(), 1));
}

// As if nothing of it had been flushed.
std::vector<char> without_marks(std::vector<char> segment) {
  std::fill(segment.begin() + kMarkOffsets[0], segment.begin() + kMarkOffsets[1] + 64, 0);
  return segment;
}

// What the first segment uses.
int64_t end_of(const std::vector<char>& segment) {
  const auto last = std::find_if(segment.rbegin(), segment.rend(), [](char c) { return c != 0; });
  return std::distance(last, segment.rend());
}

// Opens a copy of the journal with its only segment replaced. Records, or the error.
Read recovered(const TestFolder& folder, const std::vector<char>& segment) {
  const std::string copy = folder.path() / "copy";
  fs::remove_all(copy);
  fs::create_directory(copy);
  write_bytes(segment_path(copy, 1), segment);
  const core::SystemClock clock;
  {
    const auto journal = Journal::open(small_segments(copy), &clock);
    if (!journal.ok()) return {{}, journal.error().message};
  }
  return read_all(copy);
}

void expect_prefix(const Read& read, const std::string& where) {
  ASSERT_LE(read.records.size(), kRecords) << where;
  for (uint64_t i = 0; i < read.records.size(); ++i)
    ASSERT_TRUE(std::get<contract::Reservation>(read.records[i]) == numbered(i + 1)) << where;
}

TEST(JournalDamage, ATornEndIsCutAtEveryLength) {
  const TestFolder folder;
  const std::vector<char> whole = without_marks(closed_segment(folder));
  const int64_t end = end_of(whole);
  size_t most = 0;
  for (int64_t keep = kSegmentHeadBytes; keep <= end; ++keep) {
    const std::string where = "kept " + std::to_string(keep);
    std::vector<char> torn = whole;
    std::fill(torn.begin() + keep, torn.end(), 0);
    const Read zeroed = recovered(folder, torn);
    ASSERT_EQ(zeroed.error, "") << where;
    expect_prefix(zeroed, where);
    ASSERT_GE(zeroed.records.size(), most) << where;
    most = zeroed.records.size();
    if (keep % 7 != 0) continue;
    torn.resize(static_cast<size_t>(keep));
    const Read cut = recovered(folder, torn);
    ASSERT_EQ(cut.error, "") << where;
    expect_prefix(cut, where);
  }
  EXPECT_EQ(most, kRecords);
}

TEST(JournalDamage, WhatHadBeenDurableIsNeverCutSilently) {
  const TestFolder folder;
  const std::vector<char> whole = closed_segment(folder);
  const int64_t end = end_of(whole);
  int64_t refused = 0;
  for (int64_t at = 0; at < end + 16; ++at) {
    if (at >= 256 && at < kSegmentHeadBytes) continue;
    const std::string where = "changed " + std::to_string(at);
    std::vector<char> changed = whole;
    changed[static_cast<size_t>(at)] = static_cast<char>(changed[static_cast<size_t>(at)] ^ 0x41);
    const Read read = recovered(folder, changed);
    if (!read.error.empty()) {
      ++refused;
      ASSERT_THAT(read.error, HasSubstr("at offset ")) << where;
      continue;
    }
    ASSERT_EQ(read.records.size(), kRecords) << where;
    expect_prefix(read, where);
  }
  EXPECT_GT(refused, (end - kSegmentHeadBytes) * 9 / 10) << "all but the filling of records";
}

TEST(JournalDamage, AReaderSeesWhatIsDurableAndNothingBehind) {
  const TestFolder folder;
  const std::vector<char> whole = closed_segment(folder);
  EXPECT_EQ(read_all(folder.journal()).records.size(), kRecords);
  write_bytes(segment_path(folder.journal(), 1), without_marks(whole));
  const Read read = read_all(folder.journal());
  EXPECT_EQ(read.error, "");
  EXPECT_TRUE(read.records.empty());
}

TEST(JournalDamage, AFileThatWasCutShortIsRefusedWithTheOffset) {
  const TestFolder folder;
  const std::vector<char> whole = closed_segment(folder);
  const int64_t end = end_of(whole);
  for (int64_t keep = 0; keep < end; keep += 13) {
    std::vector<char> cut = whole;
    cut.resize(static_cast<size_t>(keep));
    const Read read = recovered(folder, cut);
    if (keep == 0) continue;  // a name without contents: a power loss right after the rotation
    ASSERT_THAT(read.error, HasSubstr(keep < kSegmentHeadBytes ? "bytes" : "at offset "))
        << "kept " << keep;
  }
}

TEST(JournalDamage, AMissingSegmentInTheMiddleIsRefused) {
  const TestFolder folder;
  const core::SystemClock clock;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    for (uint64_t i = 1; i <= 3000; ++i) {
      ASSERT_TRUE(journal->append(numbered(i)));
      if (i % 500 == 0) {
        ASSERT_TRUE(journal->flush().ok());
      }
    }
  }
  const auto segments = segments_of(folder.journal());
  ASSERT_GE(segments.size(), 3u);
  fs::remove(segments[1]);
  const auto journal = Journal::open(small_segments(folder.journal()), &clock);
  ASSERT_FALSE(journal.ok());
  EXPECT_THAT(journal.error().message, HasSubstr("is missing"));
}

// A power loss may keep a later page and lose an earlier one: with a torn end in one segment, the
// next one was not durable either and goes.
TEST(JournalDamage, WhatStandsBehindATornEndWasNotDurableAndGoes) {
  const TestFolder folder;
  const core::SystemClock clock;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    for (uint64_t i = 1; i <= 1200; ++i) ASSERT_TRUE(journal->append(numbered(i)));
  }
  const auto segments = segments_of(folder.journal());
  ASSERT_GE(segments.size(), 2u);
  for (const std::string& path : segments) {
    std::vector<char> bytes = without_marks(bytes_of(path));
    if (path == segments[0]) std::fill(bytes.begin() + 60'000, bytes.begin() + 64'096, 0);
    write_bytes(path, bytes);
  }
  const auto journal = open_journal(folder.journal(), &clock);
  ASSERT_NE(journal, nullptr);
  EXPECT_TRUE(journal->recovery().torn);
  const Read read = read_all(folder.journal());
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.records.size(), journal->last_sequence());
  EXPECT_GT(read.records.size(), 100u);
  EXPECT_LT(read.records.size(), 600u);
}

// ---- a full disk ----------------------------------------------------------------------------

void limit_file_bytes(rlim_t bytes) {
  const rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

// A limit on the size of files stands for the disk's: the allocation of the next segment fails.
TEST(JournalFullDisk, AppendSaysNoAndGoesOnWhenThereIsRoom) {
  const TestFolder folder;
  const SharedMemory<Shared> shared;
  DyingProcess([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    core::ManualClock clock;
    auto journal = Journal::open(small_segments(folder.journal()), &clock);
    limit_file_bytes(kSmallSegmentBytes / 2);
    uint64_t i = 1;
    while (i < 5000 && (*journal)->append(numbered(i))) ++i;
    shared->returned = i - 1;
    shared->failed = (*journal)->trouble().find("no room for a segment") == std::string::npos;
    for (int k = 0; k < 100; ++k) shared->refused += !(*journal)->append(numbered(i));
    limit_file_bytes(RLIM_INFINITY);
    clock.advance_ns(Journal::kFlushIntervalNs);
    for (int k = 0; k < 10; ++k, ++i)
      if (!(*journal)->append(numbered(i)) || !(*journal)->trouble().empty()) shared->failed = true;
    shared->returned += 10;
  }).wait();
  EXPECT_FALSE(shared->failed);
  EXPECT_EQ(shared->refused, 100u);
  EXPECT_GT(shared->returned, 100u);
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  ASSERT_NE(journal, nullptr);
  const Read read = read_all(folder.journal());
  EXPECT_EQ(read.error, "");
  ASSERT_EQ(read.records.size(), shared->returned);
  for (uint64_t i = 1; i <= read.records.size(); ++i)
    ASSERT_TRUE(std::get<contract::Reservation>(read.records[i - 1]) == numbered(i)) << i;
}

TEST(JournalFullDisk, OpenSaysWhatItNeeds) {
  const TestFolder folder;
  const SharedMemory<Shared> shared;
  DyingProcess([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const core::SystemClock clock;
    limit_file_bytes(kSmallSegmentBytes / 2);
    const auto journal = Journal::open(small_segments(folder.journal()), &clock);
    shared->failed = journal.ok() ||
                     journal.error().message.find("131072 bytes") == std::string::npos ||
                     !segments_of(folder.journal()).empty();
  }).wait();
  EXPECT_FALSE(shared->failed);
}

}  // namespace
}  // namespace sluice::store
