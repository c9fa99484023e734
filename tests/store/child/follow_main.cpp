// store_follow_child STORE JOURNAL_FOLDER GATEWAY SEED: copies a journal in batches of random size
// until nothing is left, writing the sequence of the last record after each. Tests kill it.
#include <cstdio>
#include <cstdlib>

#include <fmt/core.h>

#include "core/rng.h"
#include "store/journal_copier.h"

namespace sluice::store {
namespace {

constexpr int64_t kBatchRecordsMax = 600;

core::Result<void> follow(char** arguments) {
  const StoreAddress address = TRY(parse_store_address(arguments[1]));
  const auto copier = TRY(JournalCopier::open(
      address, {.folder = arguments[2], .gateway = std::strtoull(arguments[3], nullptr, 16)}));
  core::Rng rng(std::strtoull(arguments[4], nullptr, 10));
  while (true) {
    const CopiedBatch batch = TRY(copier->copy(1 + rng.below(kBatchRecordsMax)));
    if (batch.records == 0) return {};
    fmt::print("{}\n", batch.applied_sequence);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace sluice::store

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const auto done = sluice::store::follow(argv);
  if (done.ok()) return 0;
  fmt::print(stderr, "{}\n", done.error().message);
  return 1;
}
