#include "store/follower.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "contract/request_id.h"
#include "ledger/ledger.h"
#include "store/verify.h"
#include "tests/store/record_stream.h"
#include "tests/store/store_test_base.h"

extern char** environ;

namespace sluice::store {
namespace {

using testing::IsEmpty;

constexpr int64_t kPatienceNs = 300'000'000'000;

class FollowerTest : public OnEachStore {
 protected:
  std::unique_ptr<Follower> follow(Journal* journal) {
    return std::make_unique<Follower>(
        Follower::Options{.address = address(), .journal_folder = journal_folder()}, journal,
        &clock_, &log_);
  }

  // Appends to the journal and to the books that the store must come to.
  void append(Journal* journal, const contract::Record& record) {
    ASSERT_TRUE(recomputed_.apply(record).ok());
    ASSERT_TRUE(std::visit([&](const auto& each) { return journal->append(each); }, record));
  }
  void append_stream(Journal* journal, RecordStream& stream, int64_t count) {
    for (; count > 0; --count) append(journal, stream.next());
  }

  void wait_for_all(Journal* journal, Follower* follower) {
    ASSERT_TRUE(journal->flush().ok());
    ASSERT_TRUE(follower->wait_until_applied(journal->last_sequence(), kPatienceNs))
        << follower->status().trouble;
  }

  void wait_for_trouble(Follower* follower) {
    const int64_t until_ns = clock_.now_ns() + kPatienceNs;
    while (follower->status().trouble.empty() && clock_.now_ns() < until_ns)
      follower->wait_until_applied(UINT64_MAX, 20'000'000);
    const FollowerStatus status = follower->status();
    EXPECT_FALSE(status.store_open);
    EXPECT_NE(status.trouble, "");
    EXPECT_GT(status.lag_ns, 0);
    EXPECT_GT(status.failures, 0);
  }

  void expect_books_right() {
    const auto store = Store::open(address(), OpenFor::kReports).value();
    EXPECT_THAT(ledger::prove(books_of(store.get()), recomputed_), IsEmpty());
    const Verification proof = verify(store->database()).value();
    EXPECT_THAT(proof.first_faults, IsEmpty());
    EXPECT_EQ(proof.events, recomputed_.events());
  }

  ledger::Ledger recomputed_;
};
ON_EACH_STORE(FollowerTest);

TEST_P(FollowerTest, WhatTheJournalTakesIsSoonInTheStore) {
  const auto journal = open_journal();
  const auto follower = follow(journal.get());
  RecordStream stream({.seed = 11});
  append_stream(journal.get(), stream, 20'000);
  wait_for_all(journal.get(), follower.get());
  expect_books_right();
  const FollowerStatus status = follower->status();
  EXPECT_EQ(status.lag_records, 0);
  EXPECT_EQ(status.events, recomputed_.events());
  EXPECT_EQ(status.trouble, "");
}

TEST_P(FollowerTest, AFollowerGoesOnWhereTheLastOneStopped) {
  for (uint64_t life = 0; life < 5; ++life) {
    // Small segments, so that some are deleted between the lives.
    const auto journal = open_journal(1 << 20);
    RecordStream stream({.seed = 12, .gateway = journal->gateway(), .start = journal->start()});
    append_stream(journal.get(), stream, 3000);
    for (const contract::Record& event : stream.finish()) append(journal.get(), event);
    const auto follower = follow(journal.get());
    if (life % 2 == 0) wait_for_all(journal.get(), follower.get());
  }
  expect_books_right();
}

// The journal may forget what the store has on its disk, and that comes without more records.
TEST_P(FollowerTest, TheJournalForgetsWhatIsDurableInTheStore) {
  const auto journal = open_journal(1 << 20);
  const auto follower = follow(journal.get());
  RecordStream stream({.seed = 17});
  for (int64_t round = 0; round < 4; ++round) {
    append_stream(journal.get(), stream, 3000);
    wait_for_all(journal.get(), follower.get());
  }
  const int64_t until_ns = clock_.now_ns() + kPatienceNs;
  while (journal->bytes() > (2 << 20) && clock_.now_ns() < until_ns)
    follower->wait_until_applied(UINT64_MAX, 20'000'000);
  EXPECT_LE(journal->bytes(), 2 << 20) << "the segment in use and a spare one";
}

// Each look is `step_ns` later than the one before.
class SteppingClock final : public core::Clock {
 public:
  int64_t now_ns() const override { return now_ns_ += step_ns_; }
  int64_t unix_ns() const override { return core::SystemClock().unix_ns(); }
  void step_by_ns(int64_t ns) { step_ns_ = ns; }

 private:
  mutable std::atomic<int64_t> now_ns_ = 0;
  std::atomic<int64_t> step_ns_ = 1'000'000;
};

TEST_P(FollowerTest, AStoreFarBehindIsWrittenByAThreadWithAShareUntilItIsLevel) {
  const auto journal = open_journal();
  SteppingClock clock;
  Follower follower({.address = address(), .journal_folder = journal_folder()}, journal.get(),
                    &clock, &log_);
  RecordStream stream({.seed = 18});
  append_stream(journal.get(), stream, 3000);
  wait_for_all(journal.get(), &follower);
  EXPECT_EQ(follower.status().pressed, 0);
  clock.step_by_ns(Follower::kFarBehindNs + 1);
  append_stream(journal.get(), stream, 3000);
  wait_for_all(journal.get(), &follower);
  // It may be level before the thread with a share has been: that one goes on looking.
  const int64_t until_ns = clock_.now_ns() + kPatienceNs;
  while (follower.status().pressed == 0 && clock_.now_ns() < until_ns)
    follower.wait_until_applied(UINT64_MAX, 20'000'000);
  EXPECT_GT(follower.status().pressed, 0);
  clock.step_by_ns(1'000'000);
  for (int i = 0; i < 2; ++i) {  // the second comes when the first has been
    append_stream(journal.get(), stream, 1);
    wait_for_all(journal.get(), &follower);
  }
  const int64_t pressed = follower.status().pressed;
  append_stream(journal.get(), stream, 3000);
  wait_for_all(journal.get(), &follower);
  EXPECT_EQ(follower.status().pressed, pressed) << "level again, it is in no hurry";
  expect_books_right();
}

TEST_P(FollowerTest, RequestsOfAnEarlierStartAreGivenBack) {
  uint64_t first_start = 0;
  {
    const auto journal = open_journal();
    first_start = journal->start();
    RecordStream stream({.seed = 13, .gateway = journal->gateway(), .start = first_start});
    append_stream(journal.get(), stream, 3000);
  }
  const auto left = recomputed_.open_reservations();
  ASSERT_FALSE(left.empty());
  const auto journal = open_journal();
  ASSERT_GT(journal->start(), first_start);
  RecordStream now({.seed = 14, .gateway = journal->gateway(), .start = journal->start()});
  append_stream(journal.get(), now, 500);
  const auto follower = follow(journal.get());
  ASSERT_TRUE(journal->flush().ok());
  ASSERT_TRUE(follower->wait_until_swept(kPatienceNs)) << follower->status().trouble;
  for (const auto& [id, reservation] : left)
    ASSERT_TRUE(recomputed_.apply(ledger::lost_event(reservation, 0)).ok());
  expect_books_right();
}

TEST_P(FollowerTest, ADatabaseThatIsAwayAtTheStartIsFoundLater) {
  if (is_postgres()) {
    server().stop_at_once();
  } else {
    // A folder where the file should be.
    std::filesystem::create_directory(address().place);
  }
  const auto journal = open_journal();
  const auto follower = follow(journal.get());
  RecordStream stream({.seed = 15});
  append_stream(journal.get(), stream, 2000);
  ASSERT_TRUE(journal->flush().ok());
  wait_for_trouble(follower.get());
  if (is_postgres()) {
    ASSERT_TRUE(server().start().ok());
  } else {
    std::filesystem::remove(address().place);
  }
  append_stream(journal.get(), stream, 2000);
  wait_for_all(journal.get(), follower.get());
  expect_books_right();
  EXPECT_EQ(follower->status().trouble, "");
}

TEST_P(FollowerTest, ADatabaseThatGoesAwayUnderLoadLosesAndRepeatsNothing) {
  const auto journal = open_journal();
  const auto follower = follow(journal.get());
  RecordStream stream({.seed = 16});
  for (int64_t round = 0; round < 5; ++round) {
    append_stream(journal.get(), stream, 4000);
    ASSERT_TRUE(journal->flush().ok());
    if (is_postgres()) {
      // In the middle of what was just appended.
      ASSERT_TRUE(follower->wait_until_applied(journal->last_sequence() - 3900, kPatienceNs));
      server().stop_at_once();
      append_stream(journal.get(), stream, 1000);
      ASSERT_TRUE(server().start().ok());
    } else {
      // Somebody writes for a while.
      const auto other = database();
      const auto writing = Transaction::begin_write(other.get());
      ASSERT_TRUE(writing.ok()) << writing.error().message;
      append_stream(journal.get(), stream, 1000);
    }
  }
  wait_for_all(journal.get(), follower.get());
  expect_books_right();
}

// ---- a full disk and a file that may not be written --------------------------------------------

// No file of this process grows beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
};

// Of PostgreSQL both are the server's: to us it is a database that has gone away.
class SqliteFollowerTest : public FollowerTest {};
INSTANTIATE_TEST_SUITE_P(Stores, SqliteFollowerTest, testing::Values(StoreAddress::Kind::kSqlite),
                         store_name);

TEST_P(SqliteFollowerTest, AFullDiskStopsTheStoreAndNotTheJournal) {
  const auto journal = open_journal();
  RecordStream stream({.seed = 17});
  append_stream(journal.get(), stream, 10'000);
  ASSERT_TRUE(journal->flush().ok());
  database();
  std::unique_ptr<Follower> follower;
  {
    const FileSizeLimit limit(1 << 20);
    follower = follow(journal.get());
    wait_for_trouble(follower.get());
    append_stream(journal.get(), stream, 100);
  }
  append_stream(journal.get(), stream, 1000);
  wait_for_all(journal.get(), follower.get());
  expect_books_right();
}

// As root, whom no file refuses, the calling process is somebody else for a while.
class Nobody {
 public:
  static constexpr uid_t kNobody = 65534;
  explicit Nobody(const std::string& folder) : root_(geteuid() == 0) {
    if (!root_) return;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      give(entry.path());
    give(folder);
    if (seteuid(kNobody) != 0) ADD_FAILURE() << "seteuid";
  }
  ~Nobody() {
    if (root_ && seteuid(0) != 0) ADD_FAILURE() << "seteuid back";
  }
  Nobody(const Nobody&) = delete;
  Nobody& operator=(const Nobody&) = delete;

 private:
  static void give(const std::filesystem::path& path) {
    if (chown(path.c_str(), kNobody, kNobody) != 0) ADD_FAILURE() << "chown " << path;
  }
  const bool root_;
};

TEST_P(SqliteFollowerTest, AFileThatMayNotBeWrittenIsTriedAgain) {
  database();
  const auto journal = open_journal();
  RecordStream stream({.seed = 18});
  append_stream(journal.get(), stream, 1000);
  ASSERT_TRUE(journal->flush().ok());
  const Nobody nobody(folder());
  std::filesystem::permissions(address().place, std::filesystem::perms::owner_read);
  const auto follower = follow(journal.get());
  wait_for_trouble(follower.get());
  // The log beside it has been made with the same rights.
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all);
  wait_for_all(journal.get(), follower.get());
  expect_books_right();
}

// ---- kill -9 ------------------------------------------------------------------------------------

struct FollowChild {
  pid_t process = 0;
  FILE* output = nullptr;
};

FollowChild start_child(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<char*> argv = {const_cast<char*>(SLUICE_FOLLOW_CHILD)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  FollowChild child;
  if (posix_spawn(&child.process, SLUICE_FOLLOW_CHILD, &actions, nullptr, argv.data(), environ) !=
      0)
    ADD_FAILURE() << "cannot start " << SLUICE_FOLLOW_CHILD;
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  child.output = fdopen(ends[0], "r");
  return child;
}

// Reads lines until there were `lines` or the child has ended; whether it goes on.
bool read_lines(const FollowChild& child, int64_t lines) {
  char line[64];
  for (; lines > 0; --lines)
    if (fgets(line, sizeof line, child.output) == nullptr) return false;
  return true;
}

int end_of(const FollowChild& child) {
  int status = 0;
  waitpid(child.process, &status, 0);
  fclose(child.output);
  return status;
}

TEST_P(FollowerTest, KilledAtAnyTimeEachRecordCountsOnce) {
  constexpr uint64_t kSeed = 19;
  SCOPED_TRACE(fmt::format("seed {}", kSeed));
  uint64_t gateway = 0;
  {
    const auto journal = open_journal();
    gateway = journal->gateway();
    RecordStream stream({.seed = kSeed, .gateway = gateway, .start = journal->start()});
    append_stream(journal.get(), stream, 30'000);
    ASSERT_TRUE(journal->flush().ok());
  }
  const std::string url = is_postgres() ? address().place : "sqlite:" + address().place;
  core::Rng rng(kSeed);
  int64_t kills = 0;
  for (bool done = false; !done;) {
    const FollowChild child = start_child(
        {url, journal_folder(), fmt::format("{:x}", gateway), std::to_string(rng.bits())});
    // Some die before their first batch, most in the middle of a later one.
    done = !read_lines(child, rng.below(6));
    const int64_t until_ns = clock_.now_ns() + rng.below(8'000'000);
    while (!done && clock_.now_ns() < until_ns) {
    }
    if (!done) {
      kill(child.process, SIGKILL);
      ++kills;
    }
    const int status = end_of(child);
    ASSERT_TRUE(!done || status == 0) << status;
  }
  EXPECT_GT(kills, 5);
  expect_books_right();
}

}  // namespace
}  // namespace sluice::store
