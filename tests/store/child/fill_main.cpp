// store_fill STORE SEED RECORDS: a store with what a random gateway would have written; the events
// on standard output as JSON lines, for tests that ask the store again.
#include <cstdlib>

#include <fmt/format.h>

#include "store/batch_writer.h"
#include "store/store.h"
#include "tests/store/record_stream.h"

namespace sluice::store {
namespace {

constexpr uint64_t kGateway = 0xa1;

void print_event(const contract::UsageEvent& event) {
  UsageTotals totals;
  totals.add(event);
  fmt::print(R"({{"request":"{}","key":"{}","model":"{}","tenant":"{}","outcome":"{}","lines":{},)"
             R"("started_unix_ns":{},"output_tokens":{},"amount_nano":{}}})"
             "\n",
             contract::to_text(event.id), event.key, event.model, event.tenant,
             contract::to_text(event.outcome), event.lines.size(), event.started_unix_ns,
             totals.output_tokens, totals.amount.nano);
}

core::Result<void> fill(char** arguments) {
  const StoreAddress address = TRY(parse_store_address(arguments[1]));
  const auto store = TRY(Store::open(address, OpenFor::kService));
  RecordStream stream(
      {.seed = std::strtoull(arguments[2], nullptr, 10), .gateway = kGateway, .start = 1});
  contract::Snapshot snapshot;
  snapshot.generation = 1;
  snapshot.prices = stream.prices();
  TRY(store->publish(snapshot, "{}", 0));
  std::vector<SequencedRecord> records;
  const uint64_t count = std::strtoull(arguments[3], nullptr, 10);
  for (uint64_t sequence = 1; sequence <= count; ++sequence) {
    records.push_back({sequence, stream.next()});
    if (const auto* event = std::get_if<contract::UsageEvent>(&records.back().record))
      print_event(*event);
  }
  const auto writer = TRY(BatchWriter::open(store->database(), kGateway));
  TRY(writer->apply(records));
  return {};
}

}  // namespace
}  // namespace sluice::store

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto done = sluice::store::fill(argv);
  if (done.ok()) return 0;
  fmt::print(stderr, "{}\n", done.error().message);
  return 1;
}
