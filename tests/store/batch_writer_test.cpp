#include "store/batch_writer.h"

#include <map>
#include <thread>

#include <gmock/gmock.h>

#include "ledger/ledger.h"
#include "store/reports.h"
#include "store/store.h"
#include "store/verify.h"
#include "tests/store/record_stream.h"
#include "tests/store/store_test_base.h"

namespace sluice::store {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr uint64_t kGateway = 0xa1;

class BatchWriterTest : public OnEachStore {
 protected:
  void SetUp() override {
    OnEachStore::SetUp();
    if (!HasFatalFailure()) open_store();
  }

  void open_store() {
    writer_.reset();
    store_ = Store::open(address(), OpenFor::kService).value();
    writer_ = BatchWriter::open(store_->database(), kGateway).value();
  }

  void apply(const std::vector<SequencedRecord>& records) {
    const auto written = writer_->apply(records);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }

  ledger::Books books() { return books_of(store_.get()); }

  std::unique_ptr<Store> store_;
  std::unique_ptr<BatchWriter> writer_;
};
ON_EACH_STORE(BatchWriterTest);

// Records 1, 2, 3, … of a stream.
std::vector<SequencedRecord> take(RecordStream& stream, int64_t count) {
  std::vector<SequencedRecord> records;
  for (int64_t i = 1; i <= count; ++i) records.push_back({static_cast<uint64_t>(i), stream.next()});
  return records;
}

TEST_P(BatchWriterTest, AHundredThousandEventsOfEveryOutcomeAddUp) {
  constexpr uint64_t kSeed = 20261122;
  constexpr int64_t kEvents = 100'000;
  SCOPED_TRACE(fmt::format("seed {}", kSeed));
  RecordStream stream({.seed = kSeed, .gateway = kGateway});
  contract::Snapshot snapshot;
  snapshot.generation = 1;
  snapshot.prices = stream.prices();
  ASSERT_TRUE(store_->publish(snapshot, "{}", 0).ok());

  core::Rng rng(kSeed);
  ledger::Ledger recomputed;
  std::map<std::string, UsageTotals> by_key;
  std::map<contract::Outcome, int64_t> outcomes;
  contract::UsageEvent sample;
  uint64_t sequence = 0;
  while (recomputed.events() < kEvents) {
    std::vector<SequencedRecord> batch;
    for (int64_t left = 1 + rng.below(5000); left > 0; --left) {
      batch.push_back({++sequence, stream.next()});
      const contract::Record& record = batch.back().record;
      ASSERT_TRUE(recomputed.apply(record).ok());
      if (const auto* event = std::get_if<contract::UsageEvent>(&record)) {
        by_key[event->key].add(*event);
        ++outcomes[event->outcome];
        if (rng.below(1000) == 0) sample = *event;
      }
    }
    apply(batch);
  }
  EXPECT_EQ(outcomes.size(), static_cast<size_t>(contract::kOutcomes));
  EXPECT_THAT(ledger::prove(books(), recomputed), IsEmpty());

  const Verification proof = verify(store_->database()).value();
  EXPECT_THAT(proof.first_faults, IsEmpty());
  EXPECT_EQ(proof.events, recomputed.events());
  EXPECT_EQ(proof.open_reservations, static_cast<int64_t>(recomputed.open_reservations().size()));

  EXPECT_EQ(event_of(store_->database(), sample.id).value(), sample);
  const auto rows = usage(store_->database(),
                          {.group_by = {UsageGroup::kKey}, .first_day = 0, .last_day = 1'000'000})
                        .value();
  ASSERT_EQ(rows.size(), by_key.size());
  for (const UsageRow& row : rows) EXPECT_EQ(row.totals, by_key[row.group[0]]) << row.group[0];
}

TEST_P(BatchWriterTest, UsageIsGroupedAndFiltered) {
  RecordStream stream({.seed = 3, .gateway = kGateway});
  const auto records = take(stream, 3000);
  apply(records);
  int64_t days = 0;
  UsageTotals due;
  for (const SequencedRecord& each : records) {
    const auto* event = std::get_if<contract::UsageEvent>(&each.record);
    if (event == nullptr) continue;
    days = day_of(event->started_unix_ns);
    if (event->tenant == "tenant-1" && event->model == "model-2") due.add(*event);
  }
  UsageQuery query{.group_by = {}, .first_day = days - 10, .last_day = days + 10};
  query.tenant = "tenant-1";
  query.model = "model-2";
  auto rows = usage(store_->database(), query).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].totals, due);
  query.group_by = {UsageGroup::kDay, UsageGroup::kProject};
  rows = usage(store_->database(), query).value();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].group[1], "tenant-1-project");
  EXPECT_LT(rows[0].group[0], rows[1].group[0]);
  query.last_day = days - 10;
  EXPECT_THAT(usage(store_->database(), query).value(), IsEmpty());
}

TEST_P(BatchWriterTest, ANewWriterKnowsWhereTheLastOneStopped) {
  RecordStream stream({.seed = 4, .gateway = kGateway});
  const auto records = take(stream, 2000);
  const auto middle = records.begin() + 1000;
  apply({records.begin(), middle});
  writer_ = BatchWriter::open(store_->database(), kGateway).value();
  EXPECT_EQ(writer_->applied_sequence(), 1000u);
  apply({middle, records.end()});
  ledger::Ledger recomputed;
  for (const SequencedRecord& each : records) ASSERT_TRUE(recomputed.apply(each.record).ok());
  EXPECT_THAT(ledger::prove(books(), recomputed), IsEmpty());
  EXPECT_EQ(BatchWriter::open(store_->database(), kGateway + 1).value()->applied_sequence(), 0u);
}

TEST_P(BatchWriterTest, WhatComesAgainUnderTheSameIdChangesNothing) {
  RecordStream stream({.seed = 5, .gateway = kGateway});
  auto records = take(stream, 500);
  for (contract::Record& event : stream.finish())
    records.push_back({records.back().sequence + 1, std::move(event)});
  apply(records);
  const ledger::Books before = books();
  const int64_t events = verify(store_->database()).value().events;
  std::vector<SequencedRecord> again;
  for (const SequencedRecord& each : records)
    if (!std::holds_alternative<contract::Reservation>(each.record))
      again.push_back({each.sequence + records.back().sequence, each.record});
  std::erase_if(again, [](const SequencedRecord& each) {
    return std::holds_alternative<contract::ChangeRecord>(each.record);
  });
  apply(again);
  EXPECT_EQ(books().balances, before.balances);
  const Verification proof = verify(store_->database()).value();
  EXPECT_EQ(proof.events, events);
  EXPECT_THAT(proof.first_faults, IsEmpty());
}

TEST_P(BatchWriterTest, BalancesAreCheckedWithoutTheEvents) {
  RecordStream stream({.seed = 7, .gateway = kGateway});
  apply(take(stream, 2000));
  const auto check = [this] { return check_balances(store_->database()).value(); };
  const auto run = [this](std::string_view statement) {
    ASSERT_TRUE(store_->database()->execute(statement).ok());
  };
  ASSERT_FALSE(store_->open_reservations().value().empty());
  EXPECT_THAT(check(), IsEmpty());
  run("UPDATE accounts SET balance = balance + 1 WHERE kind = 2");
  EXPECT_THAT(check(), ElementsAre("all balances together are 1, not 0"));
  run("UPDATE accounts SET balance = balance - 1 WHERE kind = 2");
  run("DELETE FROM reservations");
  EXPECT_THAT(check(), Not(IsEmpty()));
  EXPECT_THAT(check(), Each(HasSubstr("open reservations come to 0")));
}

TEST_P(BatchWriterTest, OfTwoFollowersOfOneJournalOneIsRefused) {
  RecordStream stream({.seed = 6, .gateway = kGateway});
  const auto records = take(stream, 200);
  const auto other_store = Store::open(address(), OpenFor::kService).value();
  const auto other = BatchWriter::open(other_store->database(), kGateway).value();
  apply(records);
  const auto refused = other->apply(records);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("another process follows the same journal"));
  EXPECT_THAT(verify(store_->database()).value().first_faults, IsEmpty());
}

TEST_P(BatchWriterTest, GatewaysShareOneStore) {
  constexpr uint64_t kGateways = 3;
  const auto run_gateway = [this](uint64_t gateway) {
    const auto store = Store::open(address(), OpenFor::kService).value();
    const auto writer = BatchWriter::open(store->database(), gateway).value();
    RecordStream stream({.seed = 8, .gateway = gateway});
    const auto records = take(stream, 3000);
    for (size_t at = 0; at < records.size(); at += 100) {
      const auto written = writer->apply(std::span(records).subspan(at, 100));
      ASSERT_TRUE(written.ok()) << written.error().message;
    }
  };
  std::vector<std::thread> gateways;
  for (uint64_t gateway = 1; gateway <= kGateways; ++gateway)
    gateways.emplace_back(run_gateway, gateway);
  for (std::thread& gateway : gateways) gateway.join();
  ledger::Ledger recomputed;
  for (uint64_t gateway = 1; gateway <= kGateways; ++gateway) {
    RecordStream stream({.seed = 8, .gateway = gateway});
    for (const SequencedRecord& each : take(stream, 3000))
      ASSERT_TRUE(recomputed.apply(each.record).ok());
  }
  // The same ids of balance changes come from all of them: which one counts is chance.
  const Verification proof = verify(store_->database()).value();
  EXPECT_THAT(proof.first_faults, IsEmpty());
  EXPECT_EQ(proof.events, recomputed.events());
  EXPECT_EQ(proof.open_reservations, static_cast<int64_t>(recomputed.open_reservations().size()));
}

TEST_P(BatchWriterTest, AStoreMayBeginBehindTheJournal) {
  RecordStream stream({.seed = 9, .gateway = kGateway});
  const auto records = take(stream, 2000);
  apply({records.begin() + 1000, records.end()});  // with events of earlier reservations
  EXPECT_THAT(verify(store_->database()).value().first_faults, IsEmpty());
}

TEST_P(BatchWriterTest, TextThatNoDatabaseTakesIsStoredReadably) {
  contract::UsageEvent event;
  event.id = {kGateway, 1};
  event.tenant = "acme";
  event.finish_reason = std::string("a\0b\xff", 4);
  event.model = std::string(3000, 'm');
  apply({{1, event}});
  const auto stored = event_of(store_->database(), event.id).value();
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->finish_reason, "a\uFFFDb\uFFFD");
  EXPECT_EQ(stored->model, event.model);
}

TEST_P(BatchWriterTest, AnAmountBelowZeroIsRefusedWhole) {
  contract::UsageEvent event;
  event.id = {kGateway, 1};
  event.lines.emplace_back();
  event.lines.back().amount = {-1};
  const auto refused = writer_->apply(std::vector<SequencedRecord>{{1, event}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(verify(store_->database()).value().events, 0);
}

struct Tampering {
  const char* sql;
  const char* found;
};
constexpr Tampering kTamperings[] = {
    {"UPDATE accounts SET balance = balance + 1 WHERE kind = 2", "platform: the balance is"},
    {"UPDATE lines SET amount = amount + 1 WHERE request = (SELECT MIN(request) FROM lines WHERE "
     "amount > 0)",
     "come to"},
    {"UPDATE events SET reserved = reserved + 5 WHERE request = (SELECT MAX(request) FROM events)",
     "transfers of"},
    {"DELETE FROM transfers WHERE number = (SELECT MIN(number) FROM transfers)", "transfers of"},
    {"UPDATE usage_days SET output_tokens = output_tokens + 1", "is not the sum of its events"},
    {"DELETE FROM usage_days", "is missing"},
    {"UPDATE reservations SET amount = amount + 1", "open reservations come to"},
    {"DELETE FROM events WHERE request = (SELECT MAX(request) FROM lines WHERE amount > 0)",
     "the events come to"},
    {"INSERT INTO reservations SELECT request, tenant, access_key, model, 0, 0, 0 FROM events "
     "WHERE request = (SELECT MAX(request) FROM events)",
     "has an event and an open reservation"},
};

TEST_P(BatchWriterTest, VerifyFindsWhatSomebodyHasChanged) {
  for (const Tampering& tampering : kTamperings) {
    take_new_store();
    open_store();
    RecordStream stream({.seed = 7, .gateway = kGateway});
    contract::Snapshot snapshot;
    snapshot.generation = 1;
    snapshot.prices = stream.prices();
    ASSERT_TRUE(store_->publish(snapshot, "{}", 0).ok());
    apply(take(stream, 1500));
    ASSERT_THAT(verify(store_->database()).value().first_faults, IsEmpty());
    ASSERT_GT(store_->database()->execute(tampering.sql).value(), 0) << tampering.sql;
    const Verification proof = verify(store_->database()).value();
    EXPECT_GT(proof.faults, 0) << tampering.sql;
    EXPECT_THAT(proof.first_faults, Contains(HasSubstr(tampering.found))) << tampering.sql;
  }
}

}  // namespace
}  // namespace sluice::store
