#include "tokenizer/merge_table.h"

#include <map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::tokenizer {
namespace {

TEST(MergeTable, KeepsWhatWasInsertedLast) {
  MergeTable table;
  std::map<std::pair<int32_t, int32_t>, uint32_t> expected;
  core::Rng rng(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto left = static_cast<int32_t>(rng.below(200));
    const auto right = static_cast<int32_t>(rng.below(200));
    const auto rank = static_cast<uint32_t>(rng.below(1'000'000));
    table.insert(left, right, {rank, 7});
    expected[{left, right}] = rank;
  }
  for (int32_t left = -2; left < 201; ++left)
    for (int32_t right = -2; right < 201; ++right) {
      const auto found = expected.find({left, right});
      EXPECT_EQ(table.find(left, right).rank,
                found == expected.end() ? Merge::kNone : found->second);
    }
}

// The definition: one merge at a time, the least rank first, the leftmost of equals.
std::vector<int32_t> merge_plainly(const MergeTable& table, std::vector<int32_t> symbols) {
  while (true) {
    size_t best = 0;
    Merge least;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge m = table.find(symbols[i], symbols[i + 1]);
      if (m.rank < least.rank) {
        least = m;
        best = i;
      }
    }
    if (least.rank == Merge::kNone) return symbols;
    symbols[best] = least.merged;
    symbols.erase(symbols.begin() + static_cast<int64_t>(best) + 1);
  }
}

TEST(WordMerger, MergesAsDefined) {
  constexpr uint64_t kSeed = 3;
  core::Rng rng(kSeed);
  WordMerger merger;
  for (int round = 0; round < 60; ++round) {
    MergeTable table;
    const int64_t ranks = round % 2 == 0 ? 1'000'000 : 4;  // with and without equals
    for (int i = 0; i < 60; ++i)
      table.insert(static_cast<int32_t>(rng.below(12)), static_cast<int32_t>(rng.below(12)),
                   {static_cast<uint32_t>(rng.below(ranks)), static_cast<int32_t>(rng.below(12))});
    for (int word = 0; word < 60; ++word) {
      std::vector<int32_t> symbols(static_cast<size_t>(rng.below(120)));
      for (int32_t& s : symbols) s = static_cast<int32_t>(rng.below(13)) - 1;
      const auto expected = merge_plainly(table, symbols);
      merger.merge(table, symbols);
      ASSERT_EQ(symbols, expected) << "seed " << kSeed << ", round " << round;
    }
  }
}

// Every pair merges: most entries of the heap do not hold any more when it is full.
TEST(WordMerger, WorksInTheMemoryThatItPromises) {
  constexpr uint64_t kSeed = 4;
  core::Rng rng(kSeed);
  MergeTable table;
  for (int32_t left = 0; left < 12; ++left)
    for (int32_t right = 0; right < 12; ++right)
      table.insert(left, right,
                   {static_cast<uint32_t>(rng.below(50)), static_cast<int32_t>(rng.below(12))});
  for (const size_t count : {25, 26, 100, 4'000}) {
    std::vector<int32_t> symbols(count);
    for (int32_t& s : symbols) s = static_cast<int32_t>(rng.below(12));
    const auto expected = merge_plainly(table, symbols);
    WordMerger merger;
    merger.merge(table, symbols);
    ASSERT_EQ(symbols, expected) << "seed " << kSeed << ", " << count << " symbols";
    EXPECT_LE(merger.scratch_bytes(),
              static_cast<int64_t>(count) * WordMerger::kScratchBytesPerSymbol);
  }
}

}  // namespace
}  // namespace sluice::tokenizer
