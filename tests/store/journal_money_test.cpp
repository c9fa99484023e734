// Money over many deaths of a gateway: what the records of the journal come to is what the requests
// saw, and the sweep of the next start leaves no reservation open.
#include <atomic>
#include <csignal>
#include <thread>

#include <gmock/gmock.h>

#include "contract/request_id.h"
#include "core/rng.h"
#include "ledger/ledger.h"
#include "tests/store/dying_process.h"
#include "tests/store/journal_harness.h"

namespace sluice::store {
namespace {

// What clients saw: written after append() of the event had returned.
struct Seen {
  std::atomic<int64_t> paid_nano{0};
  std::atomic<int64_t> events{0};
  std::atomic<int64_t> next_nano{0};  // of the event that is being appended
  std::atomic<bool> failed{false};
};

// Requests one after another, up to eight at a time, until killed.
void serve(const std::string& folder, uint64_t seed, Seen* seen) {
  const core::SystemClock clock;
  auto journal = Journal::open(small_segments(folder), &clock);
  if (!journal.ok()) {
    seen->failed = true;
    return;
  }
  contract::RequestIds ids((*journal)->gateway(), (*journal)->start());
  core::Rng random(seed);
  std::vector<contract::Reservation> open;
  while (true) {
    if (open.size() < 8 && random.below(2) == 0) {
      open.push_back(numbered(0));
      open.back().id = ids.next();
      open.back().amount = {random.below(1000)};
      if (!(*journal)->append(open.back())) seen->failed = true;
    } else if (!open.empty()) {
      contract::UsageEvent event;
      event.id = open.back().id;
      event.tenant = open.back().tenant;
      event.reserved = open.back().amount;
      event.lines.emplace_back();
      event.lines[0].amount = {random.below(1500)};
      open.pop_back();
      seen->next_nano = event.lines[0].amount.nano;
      if (!(*journal)->append(event)) seen->failed = true;
      seen->paid_nano += event.lines[0].amount.nano;
      ++seen->events;
      seen->next_nano = 0;
    }
  }
}

TEST(JournalMoney, WhatTheRecordsComeToIsWhatTheRequestsSaw) {
  constexpr int kRuns = 15;
  const core::SystemClock clock;
  const auto seed = static_cast<uint64_t>(clock.unix_ns());
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng random(seed);
  const TestFolder folder;
  const SharedMemory<Seen> seen;
  int64_t in_between = 0;  // events whose append() may or may not have been done
  int64_t swept = 0;
  for (int run = 0; run < kRuns; ++run) {
    const int64_t wanted = seen->events + random.below(400);
    const DyingProcess process([&] { serve(folder.journal(), random.bits(), seen.get()); });
    while (seen->events < wanted && !seen->failed && process.running()) std::this_thread::yield();
    ASSERT_TRUE(process.running());
    process.kill();
    ASSERT_FALSE(seen->failed);

    const auto journal = open_journal(folder.journal(), &clock);
    ASSERT_NE(journal, nullptr);
    ledger::Ledger ledger;
    const Read before = read_all(folder.journal());
    for (const contract::Record& record : before.records) ASSERT_TRUE(ledger.apply(record).ok());
    for (const auto& [id, reservation] : ledger.open_reservations()) {
      ASSERT_LT(contract::start_of(id), journal->start());
      ASSERT_TRUE(journal->append(ledger::lost_event(reservation, clock.unix_ns())));
      ++swept;
    }
    ASSERT_TRUE(journal->flush().ok());
    const Read swept_records = read_all(folder.journal(), before.records.size());
    for (const contract::Record& record : swept_records.records)
      ASSERT_TRUE(ledger.apply(record).ok());
    ASSERT_TRUE(ledger.open_reservations().empty());

    // The event at which the process died is in the records or not; nothing else is open.
    const int64_t more =
        ledger.balance({ledger::AccountKind::kPlatform, ""}).nano - seen->paid_nano - in_between;
    ASSERT_TRUE(more == 0 || more == seen->next_nano) << more;
    in_between += more;
    seen->next_nano = 0;
    ASSERT_THAT(prove({.balances = ledger.balances(), .open_reservations = {}}, ledger),
                testing::IsEmpty());
  }
  EXPECT_GT(swept, 0);
}

}  // namespace
}  // namespace sluice::store
