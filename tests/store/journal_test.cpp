#include "store/journal.h"

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/contract/record_sample.h"
#include "tests/store/journal_harness.h"

namespace sluice::store {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TEST(Journal, GivesBackWhatItWasGivenInOrder) {
  const TestFolder folder;
  const core::SystemClock clock;
  std::vector<contract::Record> given;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    contract::RecordSample sample(1);
    for (int i = 0; i < 3000; ++i) {
      given.push_back(sample.record());
      ASSERT_TRUE(
          std::visit([&](const auto& record) { return journal->append(record); }, given.back()));
    }
    EXPECT_EQ(journal->last_sequence(), 3000u);
  }
  EXPECT_GT(segments_of(folder.journal()).size(), 3u) << "it has rotated";
  const Read read = read_all(folder.journal());
  EXPECT_EQ(read.error, "");
  EXPECT_TRUE(read.records == given);
}

TEST(Journal, IsForItsOwnerAlone) {
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  struct stat status = {};
  ASSERT_EQ(::stat(folder.journal().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

// The kernel reads ahead what follows a page that is touched, up to megabytes of a file that is
// still empty: tens of milliseconds in which nothing is answered.
TEST(Journal, AppendsReadNothingAhead) {
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  const std::string path = std::filesystem::canonical(folder.journal());
  std::ifstream mappings("/proc/self/smaps");
  int segments = 0;
  bool in_segment = false;
  for (std::string line; std::getline(mappings, line);) {
    const std::string name = line.substr(0, line.find(' '));
    if (!name.ends_with(':')) in_segment = line.find(path) != std::string::npos;
    if (!in_segment || name != "VmFlags:") continue;
    ++segments;
    EXPECT_THAT(line + ' ', HasSubstr(" rr ")) << "not advised to be read at random";
  }
  EXPECT_GT(segments, 0);
}

TEST(Journal, KeepsItsIdAndItsSequenceAndCountsItsStarts) {
  const TestFolder folder;
  const core::SystemClock clock;
  uint64_t last_start = 0;
  for (uint64_t run = 0; run < 4; ++run) {
    auto options = small_segments(folder.journal());
    options.gateway_if_new = 0x1d + run;
    const auto journal = Journal::open(options, &clock);
    ASSERT_TRUE(journal.ok()) << journal.error().message;
    EXPECT_EQ((*journal)->gateway(), 0x1du);
    EXPECT_GT((*journal)->start(), last_start);
    last_start = (*journal)->start();
    EXPECT_EQ((*journal)->recovery().records, 2 * run);
    EXPECT_EQ((*journal)->recovery().last_sequence, 2 * run);
    EXPECT_FALSE((*journal)->recovery().torn);
    for (uint64_t i = 0; i < 2; ++i) ASSERT_TRUE((*journal)->append(numbered(2 * run + i)));
  }
  EXPECT_THAT(read_all(folder.journal()).records, SizeIs(8));
}

TEST(Journal, IsOpenedByOneProcessAtATime) {
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  const auto second = Journal::open(small_segments(folder.journal()), &clock);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, core::ErrorCode::kLimit);
  EXPECT_THAT(second.error().message, HasSubstr("another process"));
}

TEST(Journal, RefusesSegmentsThatCannotHoldARecord) {
  const TestFolder folder;
  const core::SystemClock clock;
  auto options = small_segments(folder.journal());
  options.segment_bytes = 64 * 1024;
  EXPECT_FALSE(Journal::open(options, &clock).ok());
}

TEST(Journal, ARecordThatIsTooLongIsRefusedAndTheNextOneTaken) {
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  auto record = numbered(1);
  record.model.assign(contract::kRecordBytesMax, 'x');
  EXPECT_FALSE(journal->append(record));
  EXPECT_THAT(journal->trouble(), HasSubstr("65536"));
  EXPECT_TRUE(journal->append(numbered(1)));
  EXPECT_EQ(journal->last_sequence(), 1u);
}

TEST(Journal, AReaderFollowsWhileItIsWritten) {
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  auto reader = JournalReader::open(folder.journal(), 0);
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  uint64_t read = 0;
  for (uint64_t written = 0; written < 4000;) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(journal->append(numbered(++written)));
    ASSERT_TRUE(journal->flush().ok());
    while (true) {
      const auto record = (*reader)->next();
      ASSERT_TRUE(record.ok()) << record.error().message;
      if (!record->has_value()) break;
      EXPECT_EQ((*record)->sequence, ++read);
      EXPECT_EQ((*record)->gateway, journal->gateway());
    }
    ASSERT_EQ(read, written) << "what is durable is read, across segments";
  }
}

TEST(Journal, AReaderGoesOnWhereAnotherStopped) {
  const TestFolder folder;
  const core::SystemClock clock;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    for (uint64_t i = 1; i <= 2000; ++i) ASSERT_TRUE(journal->append(numbered(i)));
  }
  for (const uint64_t after : {0u, 1u, 700u, 1999u, 2000u}) {
    const Read read = read_all(folder.journal(), after);
    EXPECT_EQ(read.error, "");
    EXPECT_THAT(read.records, SizeIs(2000 - after));
  }
  EXPECT_THAT(read_all(folder.journal(), 2001).error, HasSubstr("its last record is 2000"));
}

TEST(Journal, AppliedSegmentsAreDeletedAndTheSequenceStays) {
  const TestFolder folder;
  const core::SystemClock clock;
  {
    const auto journal = open_journal(folder.journal(), &clock);
    for (uint64_t i = 1; i <= 2000; ++i) ASSERT_TRUE(journal->append(numbered(i)));
    ASSERT_TRUE(journal->flush().ok());
    const size_t before = segments_of(folder.journal()).size();
    const auto expect_bytes_of = [&](size_t segments) {  // and of a spare, which may be there
      const int64_t least = static_cast<int64_t>(segments) * kSmallSegmentBytes;
      EXPECT_GE(journal->bytes(), least);
      EXPECT_LE(journal->bytes(), least + kSmallSegmentBytes);
    };
    expect_bytes_of(before);
    auto reader = JournalReader::open(folder.journal(), 0);
    ASSERT_TRUE(journal->remove_applied(1500).ok());
    EXPECT_LT(segments_of(folder.journal()).size(), before);
    EXPECT_EQ(read_all(folder.journal(), 1500).error, "");
    EXPECT_THAT(read_all(folder.journal(), 0).error, HasSubstr("has been deleted"));
    EXPECT_TRUE((*reader)->next()->has_value()) << "what is open stays readable";
    ASSERT_TRUE(journal->remove_applied(2000).ok());
    EXPECT_THAT(segments_of(folder.journal()), SizeIs(1));
    expect_bytes_of(1);
  }
  const auto journal = open_journal(folder.journal(), &clock);
  EXPECT_EQ(journal->recovery().last_sequence, 2000u);
  ASSERT_TRUE(journal->remove_applied(2000).ok());
  EXPECT_THAT(segments_of(folder.journal()), SizeIs(1)) << "that of this start, without records";
  EXPECT_EQ(journal->last_sequence(), 2000u);
}

TEST(Journal, ManyThreadsAppendAndOneReads) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 2000;
  const TestFolder folder;
  const core::SystemClock clock;
  const auto journal = open_journal(folder.journal(), &clock);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kEach; ++i) {
        auto record = numbered(i);
        record.id.gateway = t;
        EXPECT_TRUE(journal->append(record));
      }
    });
  std::vector<uint64_t> next(kThreads, 0);
  auto reader = JournalReader::open(folder.journal(), 0);
  for (uint64_t read = 0; read < kThreads * kEach;) {
    ASSERT_TRUE(journal->flush().ok());
    while (true) {
      const auto record = (*reader)->next();
      ASSERT_TRUE(record.ok()) << record.error().message;
      if (!record->has_value()) break;
      ++read;
      const auto decoded = contract::decode((*record)->kind, (*record)->version, (*record)->bytes);
      const auto id = std::get<contract::Reservation>(*decoded).id;
      EXPECT_EQ(id.sequence, next[id.gateway]++) << "each thread's records in its order";
    }
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace sluice::store
