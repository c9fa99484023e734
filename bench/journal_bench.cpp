// Cost of the journal on the path of a request, on one thread: a reservation and an event with
// three lines (prompt, cached prompt, output). Beside it what its parts cost.
//
//     journal_bench FOLDER      FOLDER on the disk where journals will be
//
// What it should say: append of reservation and event together at most 2 µs (docs/gateway.md).
#include <cstdio>
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>

#include "contract/record_codec.h"
#include "core/clock.h"
#include "store/journal.h"
#include "store/journal_format.h"
#include "store/journal_reader.h"

namespace sluice {
namespace {

contract::Reservation typical_reservation() {
  return {.id = {0x1f2e3d4c5b6a7988, (uint64_t{3} << 40) + 123456},
          .tenant = "acme",
          .key = "key_1f2e3d4c5b6a7988",
          .model = "smollm2-135m-instruct",
          .started_unix_ns = 1'700'000'000'123'456'789,
          .amount = {1'234'567},
          .tokens = 1280};
}

contract::UsageEvent typical_event() {
  const contract::Reservation held = typical_reservation();
  contract::UsageEvent event;
  event.id = held.id;
  event.decision = contract::ValveDecision::kLocal;
  event.tenant = held.tenant;
  event.project = "search";
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
                          contract::Unit::kOutputToken})
    event.lines.push_back({.replica = "local-1",
                           .pool = "local",
                           .owner = "",
                           .unit = unit,
                           .quantity = 321,
                           .sale_version = 7,
                           .cost_version = 8,
                           .amount = {48'150},
                           .cost = {24'075}});
  return event;
}

class Folder {
 public:
  explicit Folder(const std::string& base) : path_(base + "/journal_bench") { clear(); }
  ~Folder() { clear(); }
  const std::string& path() const { return path_; }

 private:
  void clear() const { std::filesystem::remove_all(path_); }
  std::string path_;
};

void append(benchmark::State& state, const std::string& base) {
  const Folder folder(base);
  const core::SystemClock clock;
  auto journal =
      store::Journal::open({.folder = folder.path(), .gateway_if_new = 0x1d}, &clock).value();
  const auto reservation = typical_reservation();
  const auto event = typical_event();
  int64_t requests = 0;
  for (auto _ : state) {
    if (!journal->append(reservation) || !journal->append(event)) state.SkipWithError("refused");
    // What the store's follower does; the disk need not hold the whole run.
    if (++requests % 100'000 == 0) (void)journal->remove_applied(journal->last_sequence());
  }
}

void encode(benchmark::State& state) {
  static std::byte bytes[contract::kRecordBytesMax];
  const auto reservation = typical_reservation();
  const auto event = typical_event();
  size_t size = 0;
  for (auto _ : state)
    size = contract::encode(reservation, bytes).value() + contract::encode(event, bytes).value();
  state.counters["bytes"] = static_cast<double>(size);
}

void digest(benchmark::State& state) {
  std::byte bytes[contract::kRecordBytesMax];
  const store::RecordDigest digest;
  const size_t reservation = contract::encode(typical_reservation(), bytes).value();
  const size_t event = contract::encode(typical_event(), bytes).value();
  for (auto _ : state) {
    benchmark::DoNotOptimize(digest.of({}, std::span(bytes).first(reservation)));
    benchmark::DoNotOptimize(digest.of({}, std::span(bytes).first(event)));
  }
}

void read_and_decode(benchmark::State& state, const std::string& base) {
  constexpr int64_t kPairs = 20'000;
  const Folder folder(base);
  const core::SystemClock clock;
  auto journal =
      store::Journal::open({.folder = folder.path(), .gateway_if_new = 0x1d}, &clock).value();
  for (int64_t i = 0; i < kPairs; ++i)
    if (!journal->append(typical_reservation()) || !journal->append(typical_event()))
      return state.SkipWithError("refused");
  (void)journal->flush();
  for (auto _ : state) {
    auto reader = store::JournalReader::open(folder.path(), 0).value();
    for (int64_t i = 0; i < 2 * kPairs; ++i) {
      const auto record = reader->next().value();
      benchmark::DoNotOptimize(contract::decode(record->kind, record->version, record->bytes));
    }
  }
  state.SetItemsProcessed(state.iterations() * kPairs);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 2) {
    std::fputs("usage: journal_bench FOLDER [--benchmark_...]\n", stderr);
    return 2;
  }
  const std::string folder = argv[1];
  benchmark::RegisterBenchmark("append/reservation+event", sluice::append, folder);
  benchmark::RegisterBenchmark("part/encode", sluice::encode);
  benchmark::RegisterBenchmark("part/sha256", sluice::digest);
  benchmark::RegisterBenchmark("follower/read+decode", sluice::read_and_decode, folder);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
