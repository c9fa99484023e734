#include "store/store.h"

#include <gmock/gmock.h>

#include "store/batch_writer.h"
#include "store/migrations.h"
#include "store/reports.h"
#include "tests/store/record_stream.h"
#include "tests/store/store_test_base.h"

namespace sluice::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StoreTest : public OnEachStore {
 protected:
  std::unique_ptr<Store> open() {
    auto store = Store::open(address(), OpenFor::kService);
    EXPECT_TRUE(store.ok()) << store.error().message;
    return std::move(store).value();
  }
};
ON_EACH_STORE(StoreTest);

contract::Snapshot snapshot_of(int64_t generation, int64_t price_version) {
  contract::Snapshot snapshot;
  snapshot.generation = generation;
  contract::Price price;
  price.version = price_version;
  price.model = "small";
  price.valid_from_unix_s = 100 * price_version;
  price.rates[2].nano_per_million = 7;
  snapshot.prices.push_back(price);
  return snapshot;
}

TEST_P(StoreTest, TheSnapshotInForceIsTheLastOnePublished) {
  const auto store = open();
  EXPECT_EQ(store->generation().value(), 0);
  EXPECT_FALSE(store->latest_snapshot().value().has_value());
  EXPECT_EQ(store->publish(snapshot_of(1, 1), R"({"generation":1})", 10).value(), Published::kNow);
  EXPECT_EQ(store->publish(snapshot_of(3, 2), R"({"generation":3,"é":"'"})", 30).value(),
            Published::kNow);
  const auto latest = open()->latest_snapshot().value();
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->generation, 3);
  EXPECT_EQ(latest->published_unix_ns, 30);
  EXPECT_EQ(latest->json, R"({"generation":3,"é":"'"})");
  EXPECT_EQ(store->snapshot(1).value()->json, R"({"generation":1})");
  EXPECT_FALSE(store->snapshot(2).value().has_value());
}

TEST_P(StoreTest, ABalanceChangeIsFoundByItsId) {
  const auto store = open();
  const auto writer = BatchWriter::open(store->database(), 7).value();
  contract::BalanceChange change;
  change.id = "invoice '7'";
  change.tenant = "acme";
  change.kind = contract::BalanceChange::Kind::kAdjustment;
  change.amount = {-5};
  change.actor = "key_1";
  change.reason = "é";
  change.unix_ns = 9;
  EXPECT_EQ(store->balance_change(change.id).value(), std::nullopt);
  const SequencedRecord records[] = {{1, change}};
  ASSERT_TRUE(writer->apply(records).ok());
  EXPECT_EQ(store->balance_change(change.id).value(), change);
  EXPECT_EQ(store->balance_change("invoice").value(), std::nullopt);
}

TEST_P(StoreTest, OfTwoWritersOfOneGenerationOneIsStale) {
  const auto one = open();
  const auto other = open();
  EXPECT_EQ(one->publish(snapshot_of(5, 1), "one", 0).value(), Published::kNow);
  EXPECT_EQ(other->publish(snapshot_of(5, 2), "other", 0).value(), Published::kStale);
  EXPECT_EQ(other->publish(snapshot_of(4, 2), "older", 0).value(), Published::kStale);
  EXPECT_EQ(other->latest_snapshot().value()->json, "one");
  EXPECT_EQ(other->price_history().value().size(), 1u) << "a stale snapshot's prices are not kept";
  EXPECT_EQ(other->publish(snapshot_of(6, 2), "next", 0).value(), Published::kNow);
}

TEST_P(StoreTest, PricesOutliveTheirSnapshot) {
  const auto store = open();
  ASSERT_TRUE(store->publish(snapshot_of(1, 1), "{}", 0).ok());
  ASSERT_TRUE(store->publish(snapshot_of(2, 2), "{}", 0).ok());
  EXPECT_THAT(store->price_history().value(),
              ElementsAre(snapshot_of(1, 1).prices[0], snapshot_of(2, 2).prices[0]));
}

TEST_P(StoreTest, ANewerSchemaIsRefused) {
  const auto newer = database();
  ASSERT_TRUE(
      newer->execute("INSERT INTO schema_version VALUES ($1)", {schema_version() + 1}).ok());
  for (const OpenFor use : {OpenFor::kService, OpenFor::kReports}) {
    const auto opened = open_database(address(), use);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, core::ErrorCode::kUnsupported);
    EXPECT_THAT(opened.error().message, HasSubstr("use a newer sluice"));
  }
}

TEST_P(StoreTest, ReportsMakeNoStore) {
  const auto opened = open_database(address(), OpenFor::kReports);
  ASSERT_FALSE(opened.ok());
  ASSERT_TRUE(open_database(address(), OpenFor::kService).ok());
  EXPECT_TRUE(open_database(address(), OpenFor::kReports).ok());
}

TEST_P(StoreTest, ChangesAreReadInPiecesBehindACursor) {
  const auto store = open();
  const auto writer = BatchWriter::open(store->database(), 7).value();
  std::vector<SequencedRecord> records;
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    records.push_back({sequence, contract::ChangeRecord{
                                     .actor = "key_1",
                                     .action = "keys.create",
                                     .object = "key/key_2",
                                     .hash_before = "",
                                     .hash_after = "ab",
                                     .generation = static_cast<int64_t>(sequence / 2),  // 0 1 1 2 2
                                     .unix_ns = 5}});
  }
  ASSERT_TRUE(writer->apply(records).ok());
  std::vector<contract::ChangeRecord> read;
  for (ChangeCursor cursor;;) {
    const auto piece = store->changes(cursor, 2).value();
    for (const StoredChange& each : piece) read.push_back(each.change);
    if (piece.size() < 2) break;
    cursor = piece.back().cursor;
  }
  ASSERT_EQ(read.size(), records.size());
  for (size_t i = 0; i < read.size(); ++i)
    EXPECT_EQ(read[i], std::get<contract::ChangeRecord>(records[i].record));
}

TEST_P(StoreTest, LimitsStartFromWhatTheDayAndTheMonthHaveUsed) {
  const auto store = open();
  const auto writer = BatchWriter::open(store->database(), 7).value();
  const int64_t second = 1'000'000'000;
  const int64_t now = 1'700'000'000 * second;  // 2023-11-14 22:13:20 UTC
  const int64_t started[] = {now, now - 86'400 * second, now - 14 * 86'400 * second};
  std::vector<SequencedRecord> records;
  for (uint64_t i = 0; i < 3; ++i) {
    contract::UsageEvent event;
    event.id = {7, i + 1};
    event.tenant = "acme";
    event.project = "web";
    event.key = "key_1";
    event.model = "small";
    event.started_unix_ns = started[i];
    contract::UsageLine line;
    line.quantity = 10;
    line.amount = {100};
    event.lines.push_back(line);
    line.side = contract::LineSide::kCostOnly;  // nobody's quota
    line.amount = {};
    line.cost = {40};
    event.lines.push_back(line);
    records.push_back({i + 1, event});
  }
  ASSERT_TRUE(writer->apply(records).ok());
  const auto uses = store->calendar_use(now).value();
  ASSERT_EQ(uses.size(), 4u);  // a key, a project, a tenant, a model
  for (const CalendarUse& use : uses) {
    EXPECT_EQ(use.day_tokens, 10) << use.id;
    EXPECT_EQ(use.month_tokens, 20) << use.id << ": October is another month";
    EXPECT_EQ(use.day_money.nano, 100) << use.id;
    EXPECT_EQ(use.month_money.nano, 200) << use.id;
  }
  EXPECT_EQ(uses[0].id, "key_1");
  EXPECT_EQ(uses[2].holder, QuotaHolder::kTenant);
}

TEST(StoreAddressTest, SaysWhatItTakesAndHidesPasswords) {
  EXPECT_EQ(parse_store_address("sqlite:/var/a.db").value().place, "/var/a.db");
  EXPECT_EQ(to_text(parse_store_address("postgresql://me:secret@db/x?password=secret").value()),
            "postgresql://me@db/x");
  for (const char* wrong : {"", "sqlite:", "mysql://a", "/var/a.db"})
    EXPECT_FALSE(parse_store_address(wrong).ok()) << wrong;
}

TEST(DayTest, TextAndNumber) {
  EXPECT_EQ(parse_day("1970-01-01").value(), 0);
  EXPECT_EQ(parse_day("2024-02-29").value(), 19782);
  EXPECT_EQ(day_text(19782), "2024-02-29");
  for (const char* wrong : {"2023-02-29", "2023-1-01", "2023-01-0x", "20230101", ""})
    EXPECT_FALSE(parse_day(wrong).ok()) << wrong;
}

}  // namespace
}  // namespace sluice::store
