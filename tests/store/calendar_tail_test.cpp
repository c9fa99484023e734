#include "store/calendar_tail.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "tests/store/record_stream.h"
#include "tests/store/store_test_base.h"

namespace sluice::store {
namespace {

class CalendarTailTest : public OnEachStore {};
ON_EACH_STORE(CalendarTailTest);

// However little of the journal the store has, the sums are those that it will have.
TEST_P(CalendarTailTest, WhatOnlyTheJournalHasCountsToo) {
  const auto journal = open_journal(1 << 20);
  RecordStream stream({.seed = 21, .gateway = journal->gateway(), .start = journal->start()});
  int64_t unix_ns = 0;
  for (int i = 0; i < 6000; ++i) {
    const contract::Record record = stream.next();
    if (const auto* event = std::get_if<contract::UsageEvent>(&record))
      unix_ns = std::max(unix_ns, event->started_unix_ns);
    ASSERT_TRUE(std::visit([&](const auto& each) { return journal->append(each); }, record));
  }
  const JournalCopier::Source source = {.folder = journal_folder(), .gateway = journal->gateway()};
  const auto store = Store::open(address(), OpenFor::kService).value();
  const auto with_tail = [&] {
    return calendar_use_with_tail(store.get(), source,
                                  {.last_sequence = journal->last_sequence(), .unix_ns = unix_ns})
        .value();
  };
  ASSERT_TRUE(journal->flush().ok());
  const auto of_nothing_applied = with_tail();
  const auto copier = JournalCopier::open(address(), source).value();
  ASSERT_TRUE(copier->copy(2500).ok());
  const auto of_some_applied = with_tail();
  ASSERT_TRUE(copier->copy(10'000).ok());
  std::vector<CalendarUse> all = store->calendar_use(unix_ns).value();
  std::ranges::sort(all, {}, [](const CalendarUse& use) { return std::tie(use.holder, use.id); });
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(of_nothing_applied, all);
  EXPECT_EQ(of_some_applied, all);
  EXPECT_EQ(with_tail(), all);
  EXPECT_FALSE(
      calendar_use_with_tail(store.get(), source,
                             {.last_sequence = journal->last_sequence() + 1, .unix_ns = unix_ns})
          .value())
      << "that record is not there yet";
}

// Requests that somebody else counts are left out, wherever their events stand.
TEST_P(CalendarTailTest, LeavesOutWhatSomebodyElseCounts) {
  const auto journal = open_journal(1 << 20);
  RecordStream stream({.seed = 22, .gateway = journal->gateway(), .start = journal->start()});
  TailQuery query = {.except = {}};
  std::map<std::string, UsageTotals> left_out;
  for (int i = 0; i < 6000; ++i) {
    const contract::Record record = stream.next();
    ASSERT_TRUE(std::visit([&](const auto& each) { return journal->append(each); }, record));
    const auto* event = std::get_if<contract::UsageEvent>(&record);
    if (event == nullptr) continue;
    query.unix_ns = std::max(query.unix_ns, event->started_unix_ns);
    if (event->id.sequence % 3 != 0 || !query.except.insert(event->id).second) continue;
    left_out[event->tenant].add(*event);
  }
  query.last_sequence = journal->last_sequence();
  ASSERT_GT(query.except.size(), 1000U) << "more than are asked for at once";
  const JournalCopier::Source source = {.folder = journal_folder(), .gateway = journal->gateway()};
  const auto store = Store::open(address(), OpenFor::kService).value();
  ASSERT_TRUE(journal->flush().ok());
  const auto of_tenants = [&](const TailQuery& asked) {
    std::map<std::string, CalendarUse> uses;
    const std::vector<CalendarUse> found =
        calendar_use_with_tail(store.get(), source, asked).value().value();
    for (const CalendarUse& use : found)
      if (use.holder == QuotaHolder::kTenant) uses[use.id] = use;
    return uses;
  };
  const TailQuery everything = {.last_sequence = query.last_sequence, .unix_ns = query.unix_ns};
  const auto expect_left_out = [&] {
    const auto with = of_tenants(everything);
    auto without = of_tenants(query);
    ASSERT_FALSE(with.empty());
    for (const auto& [tenant, use] : with) {
      EXPECT_EQ(without[tenant].month_tokens, use.month_tokens - left_out[tenant].tokens());
      EXPECT_EQ(without[tenant].month_money.nano,
                use.month_money.nano - left_out[tenant].amount.nano);
      EXPECT_LT(without[tenant].day_tokens, use.day_tokens);
    }
  };
  expect_left_out();
  const auto copier = JournalCopier::open(address(), source).value();
  ASSERT_TRUE(copier->copy(2500).ok());
  expect_left_out();
  ASSERT_TRUE(copier->copy(10'000).ok());
  expect_left_out();
}

}  // namespace
}  // namespace sluice::store
