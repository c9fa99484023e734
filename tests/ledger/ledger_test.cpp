#include "ledger/ledger.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/request_id.h"
#include "core/rng.h"

namespace sluice::ledger {
namespace {

using contract::BalanceChange;
using contract::NanoMoney;
using contract::Outcome;
using contract::Record;
using contract::RequestId;
using contract::Reservation;
using contract::UsageEvent;
using contract::UsageLine;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Account kAcme = {AccountKind::kTenant, "acme"};
const Account kHeld = {AccountKind::kReserved, "acme"};
const Account kPlatform = {AccountKind::kPlatform, ""};
const Account kOutside = {AccountKind::kOutside, ""};
const Account kGpuCo = {AccountKind::kSupplier, "gpu-co"};

Reservation reservation(uint64_t sequence, int64_t nano) {
  return {.id = {1, sequence},
          .tenant = "acme",
          .key = "key_1",
          .model = "m",
          .started_unix_ns = 5,
          .amount = {nano},
          .tokens = 0};
}

UsageEvent event(const Reservation& of, int64_t amount, int64_t cost) {
  UsageEvent out;
  out.id = of.id;
  out.tenant = of.tenant;
  out.reserved = of.amount;
  UsageLine line;
  line.owner = "gpu-co";
  line.amount = {amount};
  line.cost = {cost};
  out.lines = {line};
  return out;
}

Record top_up(std::string id, int64_t nano) {
  return BalanceChange{.id = std::move(id),
                       .tenant = "acme",
                       .kind = BalanceChange::Kind::kTopUp,
                       .amount = {nano},
                       .actor = {},
                       .reason = {},
                       .unix_ns = 0};
}

Record adjustment(std::string id, int64_t nano) {
  Record out = top_up(std::move(id), nano);
  std::get<BalanceChange>(out).kind = BalanceChange::Kind::kAdjustment;
  return out;
}

std::vector<Transfer> transfers(const Record& record) {
  return *transfers_of(record);
}

TEST(Transfers, AreThoseOfTheTable) {
  const Reservation held = reservation(1, 100);
  EXPECT_THAT(transfers(top_up("t", 5)),
              ElementsAre(Transfer{TransferKind::kTopUp, kOutside, kAcme, {5}}));
  EXPECT_THAT(transfers(adjustment("a", 5)),
              ElementsAre(Transfer{TransferKind::kAdjustment, kPlatform, kAcme, {5}}));
  EXPECT_THAT(transfers(adjustment("a", -5)),
              ElementsAre(Transfer{TransferKind::kAdjustment, kAcme, kPlatform, {5}}));
  EXPECT_THAT(transfers(held),
              ElementsAre(Transfer{TransferKind::kReservation, kAcme, kHeld, {100}}));
  EXPECT_THAT(transfers(event(held, 70, 30)),
              ElementsAre(Transfer{TransferKind::kSettlement, kHeld, kPlatform, {70}},
                          Transfer{TransferKind::kRefund, kHeld, kAcme, {30}},
                          Transfer{TransferKind::kSupply, kPlatform, kGpuCo, {30}}));
  EXPECT_THAT(transfers(event(held, 130, 0)),
              ElementsAre(Transfer{TransferKind::kExcess, kAcme, kHeld, {30}},
                          Transfer{TransferKind::kSettlement, kHeld, kPlatform, {130}}));
  EXPECT_THAT(transfers(lost_event(held, 9)),
              ElementsAre(Transfer{TransferKind::kRefund, kHeld, kAcme, {100}}));
}

TEST(Transfers, AreRefusedWhereNoAmountIs) {
  EXPECT_FALSE(transfers_of(top_up("t", -1)).ok());
  EXPECT_FALSE(transfers_of(adjustment("a", INT64_MIN)).ok());
  EXPECT_FALSE(transfers_of(reservation(1, -1)).ok());
  const Reservation held = reservation(1, 1);
  EXPECT_FALSE(transfers_of(event(held, -1, 0)).ok());
  EXPECT_FALSE(transfers_of(event(held, 0, -1)).ok());
  UsageEvent huge = event(held, INT64_MAX, 0);
  huge.lines.push_back(huge.lines[0]);
  EXPECT_FALSE(transfers_of(huge).ok());
}

TEST(Account, HasOneText) {
  for (const Account& account : {kAcme, kHeld, kPlatform, kOutside, kGpuCo})
    EXPECT_EQ(*parse_account(to_text(account)), account);
  for (const char* text : {"", "tenant", "tenant/", "platform/x", "nobody", "outsider"})
    EXPECT_FALSE(parse_account(text).ok()) << text;
}

TEST(Ledger, WhatIsAppliedTwiceCountsOnce) {
  Ledger ledger;
  const Reservation held = reservation(1, 100);
  EXPECT_EQ(*ledger.apply(top_up("t", 1000)), Applied::kNow);
  EXPECT_EQ(*ledger.apply(top_up("t", 1000)), Applied::kBefore);
  EXPECT_EQ(*ledger.apply(held), Applied::kNow);
  EXPECT_EQ(*ledger.apply(held), Applied::kBefore);
  EXPECT_EQ(*ledger.apply(event(held, 70, 30)), Applied::kNow);
  EXPECT_EQ(*ledger.apply(event(held, 70, 30)), Applied::kBefore);
  EXPECT_EQ(*ledger.apply(held), Applied::kBefore) << "its event has been";
  EXPECT_EQ(*ledger.apply(lost_event(held, 9)), Applied::kBefore);
  EXPECT_EQ(ledger.balance(kAcme).nano, 930);
  EXPECT_EQ(ledger.balance(kHeld).nano, 0);
  EXPECT_EQ(ledger.balance(kPlatform).nano, 40);
  EXPECT_EQ(ledger.balance(kGpuCo).nano, 30);
  EXPECT_EQ(ledger.balance(kOutside).nano, -1000);
  EXPECT_FALSE(ledger.balances().contains(kHeld)) << "zero balances are left out";
}

TEST(Ledger, RefusesAnEventThatDoesNotFitItsReservationAndKeepsItsBalances) {
  Ledger ledger;
  const Reservation held = reservation(1, 100);
  EXPECT_FALSE(ledger.apply(event(held, 70, 30)).ok()) << "there is no reservation";
  ASSERT_TRUE(ledger.apply(held).ok());
  const Balances before = ledger.balances();
  UsageEvent other = event(held, 70, 30);
  other.reserved = {99};
  EXPECT_FALSE(ledger.apply(other).ok());
  other = event(held, 70, 30);
  other.tenant = "b";
  EXPECT_FALSE(ledger.apply(other).ok());
  EXPECT_FALSE(ledger.apply(top_up("t", INT64_MAX)).ok() && ledger.apply(top_up("u", 2000)).ok());
  EXPECT_EQ(ledger.balance(kHeld), before.at(kHeld));
  EXPECT_EQ(ledger.events(), 0);
}

TEST(Proof, NamesEachMismatch) {
  Ledger ledger;
  ASSERT_TRUE(ledger.apply(top_up("t", 1000)).ok());
  ASSERT_TRUE(ledger.apply(reservation(1, 100)).ok());
  const Books right = {.balances = ledger.balances(), .open_reservations = {{1, 1}}};
  EXPECT_THAT(prove(right, ledger), IsEmpty());

  Books books = right;
  books.balances[kAcme].nano += 1;
  EXPECT_THAT(prove(books, ledger),
              ElementsAre(HasSubstr("the sum is 1"), HasSubstr("tenant/acme: 901")));

  books = right;
  books.balances.erase(kHeld);
  books.balances[kAcme].nano += 100;
  EXPECT_THAT(prove(books, ledger),
              ElementsAre(HasSubstr("tenant/acme: 1000"), HasSubstr("reserved/acme: 0")));

  books = right;
  books.balances[kHeld].nano = -1;
  books.balances[kAcme].nano += 101;
  EXPECT_THAT(prove(books, ledger), testing::Contains(HasSubstr("below zero")));

  books = right;
  books.open_reservations = {{1, 2}};
  EXPECT_THAT(prove(books, ledger),
              ElementsAre(HasSubstr("not in the books"), HasSubstr("not by the records")));
}

TEST(Proof, FindsWhatTheSweepLeft) {
  const RequestId earlier = {1, (uint64_t{2} << contract::kRequestCountBits) + 9};
  const RequestId running = {1, (uint64_t{3} << contract::kRequestCountBits) + 1};
  const RequestId other = {2, 1};
  const Books books = {.balances = {}, .open_reservations = {earlier, running, other}};
  EXPECT_THAT(unswept(books, 1, 3), ElementsAre(earlier));
}

// Random records, some twice, in an order that a journal may have: the sum is zero after each, the
// reserved account is what is open, and a second ledger that sees everything twice is equal.
TEST(Ledger, RandomHistoriesBalance) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    core::Rng random(seed);
    Ledger ledger;
    std::vector<Record> history;
    std::vector<Reservation> open;
    int64_t held = 0;
    for (uint64_t i = 1; i <= 300; ++i) {
      const int64_t kind = random.below(10);
      Record record;
      if (kind == 0) {
        record = top_up(std::to_string(i), random.below(1'000'000));
      } else if (kind == 1) {
        record = adjustment(std::to_string(i), random.below(2000) - 1000);
      } else if (kind < 6 || open.empty()) {
        open.push_back(reservation(i, random.below(5000)));
        held += open.back().amount.nano;
        record = open.back();
      } else {
        std::swap(open[static_cast<size_t>(random.below(std::ssize(open)))], open.back());
        held -= open.back().amount.nano;
        record = random.below(4) == 0 ? lost_event(open.back(), 9)
                                      : event(open.back(), random.below(9000), random.below(9000));
        open.pop_back();
      }
      if (random.below(5) == 0) history.push_back(record);
      history.push_back(record);
      ASSERT_EQ(*ledger.apply(record), Applied::kNow);
      ASSERT_EQ(*ledger.apply(history[static_cast<size_t>(random.below(std::ssize(history)))]),
                Applied::kBefore);
      int64_t sum = 0;
      for (const auto& [account, balance] : ledger.balances()) sum += balance.nano;
      ASSERT_EQ(sum, 0);
      ASSERT_EQ(ledger.balance(kHeld).nano, held);
    }
    Ledger again;
    for (const Record& record : history) ASSERT_TRUE(again.apply(record).ok());
    Books books = {.balances = ledger.balances(), .open_reservations = {}};
    for (const Reservation& each : open) books.open_reservations.push_back(each.id);
    EXPECT_THAT(prove(books, again), IsEmpty());
  }
}

}  // namespace
}  // namespace sluice::ledger
