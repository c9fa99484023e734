// Requests a second from the journal into the store: a reservation and an event with three lines
// each, and what the ledger makes of them (reservation, settlement, refund, supply).
//
//     taskset -c 0 store_bench sqlite:FOLDER/bench.db FOLDER 500000
//     taskset -c 0 store_bench postgresql://user@host/database FOLDER 500000
//
// FOLDER is on the disk that holds journals; the store must be empty. What it should say: 37,000 on
// one core that nobody else uses (docs/gateway.md: a minute at nginx's rate is followed in a
// minute).
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "contract/request_id.h"
#include "core/clock.h"
#include "store/journal.h"
#include "store/journal_copier.h"
#include "store/verify.h"

namespace sluice::store {
namespace {

constexpr int64_t kBatchRecords = 8192;
constexpr int64_t kKeys = 200;
constexpr int64_t kRunning = 64;  // requests at once

contract::Reservation reservation_of(contract::RequestId id, int64_t unix_ns) {
  const uint64_t key = id.sequence % kKeys;
  return {.id = id,
          .tenant = fmt::format("tenant-{}", key % 20),
          .key = fmt::format("key_1f2e3d4c5b6a{:04}", key),
          .model = "smollm2-135m-instruct",
          .started_unix_ns = unix_ns,
          .amount = {1'234'567},
          .tokens = 1280};
}

contract::UsageEvent event_of(const contract::Reservation& held) {
  contract::UsageEvent event;
  event.id = held.id;
  event.decision = contract::ValveDecision::kLocal;
  event.tenant = held.tenant;
  event.project = held.tenant + "-search";
  event.key = held.key;
  event.model = held.model;
  event.model_digest = "0123456789abcdef0123456789abcdef";
  event.finish_reason = "stop";
  event.started_unix_ns = held.started_unix_ns;
  event.ttft_ns = 123'456'789;
  event.tpot_ns = 12'345'678;
  event.total_ns = 1'234'567'890;
  event.reserved = held.amount;
  for (const auto unit : {contract::Unit::kPromptToken, contract::Unit::kCachedPromptToken,
                          contract::Unit::kOutputToken}) {
    contract::UsageLine line;
    line.replica = "rented-1";
    line.pool = "rented";
    line.owner = "gpu-co";
    line.unit = unit;
    line.quantity = 321;
    line.sale_version = 7;
    line.cost_version = 8;
    line.amount = {48'150};
    line.cost = {24'075};
    event.lines.push_back(line);
  }
  return event;
}

core::Result<uint64_t> write_journal(const std::string& folder, int64_t requests) {
  const core::SystemClock clock;
  const auto journal = TRY(Journal::open({.folder = folder, .gateway_if_new = 0xbe}, &clock));
  contract::RequestIds ids(journal->gateway(), journal->start());
  std::vector<contract::Reservation> running;
  for (int64_t i = 0; i < requests + kRunning; ++i) {
    if (i >= kRunning && !journal->append(event_of(running[static_cast<size_t>(i % kRunning)])))
      return core::Error{core::ErrorCode::kIo, journal->trouble()};
    if (i >= requests) continue;
    const auto reservation = reservation_of(ids.next(), clock.unix_ns());
    if (i < kRunning) {
      running.push_back(reservation);
    } else {
      running[static_cast<size_t>(i % kRunning)] = reservation;
    }
    if (!journal->append(reservation)) return core::Error{core::ErrorCode::kIo, journal->trouble()};
  }
  TRY(journal->flush());
  return journal->gateway();
}

core::Result<void> measure(const std::string& url, const std::string& base, int64_t requests) {
  const std::string folder = base + "/store_bench_journal";
  std::filesystem::remove_all(folder);
  const uint64_t gateway = TRY(write_journal(folder, requests));
  const StoreAddress address = TRY(parse_store_address(url));
  const auto copier = TRY(JournalCopier::open(address, {.folder = folder, .gateway = gateway}));
  const core::SystemClock clock;
  const int64_t began_ns = clock.now_ns();
  int64_t events = 0;
  while (true) {
    const CopiedBatch batch = TRY(copier->copy(kBatchRecords));
    if (batch.records == 0) break;
    events += batch.written.events;
  }
  const double seconds = static_cast<double>(clock.now_ns() - began_ns) * 1e-9;
  fmt::print("{} requests in {:.2f} s: {:.0f} requests/s, {:.2f} us each\n", events, seconds,
             static_cast<double>(events) / seconds, seconds / static_cast<double>(events) * 1e6);
  std::filesystem::remove_all(folder);
  const auto database = TRY(open_database(address, OpenFor::kReports));
  const int64_t verify_began_ns = clock.now_ns();
  const Verification proof = TRY(verify(database.get()));
  fmt::print("verify: {} events, {} transfers, {} wrong, {:.2f} s\n", proof.events, proof.transfers,
             proof.faults, static_cast<double>(clock.now_ns() - verify_began_ns) * 1e-9);
  return {};
}

}  // namespace
}  // namespace sluice::store

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: store_bench STORE FOLDER REQUESTS\n");
    return 2;
  }
  const auto done = sluice::store::measure(argv[1], argv[2], std::atoll(argv[3]));
  if (!done.ok()) fmt::print(stderr, "store_bench: {}\n", done.error().message);
  return done.ok() ? 0 : 1;
}
