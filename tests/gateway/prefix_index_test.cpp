#include "gateway/routing/prefix_index.h"

#include <thread>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::vector<uint64_t> chain_of(uint64_t seed, int64_t blocks) {
  std::vector<uint64_t> chain;
  for (int64_t i = 0; i < blocks; ++i)
    chain.push_back(core::random_bits(seed, static_cast<uint64_t>(i)));
  return chain;
}

int32_t matched(const PrefixIndex& index, ReplicaSlot slot, std::span<const uint64_t> chain,
                int64_t now_ns) {
  std::array<int32_t, PrefixIndex::kReplicasMax> blocks;
  index.match(chain, now_ns, blocks);
  return blocks[static_cast<size_t>(slot.value)];
}

TEST(prefix_index, a_guess_holds_for_its_replica_until_it_is_old) {
  PrefixIndex index(1024);
  const ReplicaSlot a = index.slot_of("a");
  const ReplicaSlot b = index.slot_of("b");
  EXPECT_NE(a.value, b.value);
  EXPECT_EQ(index.slot_of("a").value, a.value);
  const auto chain = chain_of(1, 10);
  index.guess(a, std::span(chain).first(6), kSecond);
  EXPECT_EQ(matched(index, a, chain, 2 * kSecond), 6);
  EXPECT_EQ(matched(index, b, chain, 2 * kSecond), 0);
  EXPECT_EQ(matched(index, a, chain, kSecond + PrefixIndex::kTtlNs), 0);
  index.guess(b, chain, kSecond + PrefixIndex::kTtlNs);
  EXPECT_EQ(matched(index, a, chain, kSecond + PrefixIndex::kTtlNs), 0) << "an old guess revived";
}

TEST(prefix_index, what_the_engine_says_has_no_age_and_corrects_guesses) {
  PrefixIndex index(1024);
  const ReplicaSlot a = index.slot_of("a");
  const auto chain = chain_of(2, 4);
  using Kind = PageNews::Kind;
  ASSERT_TRUE(index.on_pages(a, {Kind::kSnapshot, "e1", 5, chain, {}}, 0));
  EXPECT_EQ(matched(index, a, chain, 10 * PrefixIndex::kTtlNs), 4);
  index.guess(a, chain, kSecond);
  ASSERT_TRUE(index.on_pages(a, {Kind::kChanges, "e1", 9, {}, std::span(chain).subspan(2)}, 0));
  EXPECT_EQ(matched(index, a, chain, kSecond), 2);
}

TEST(prefix_index, changes_that_follow_nothing_ask_for_a_snapshot) {
  PrefixIndex index(1024);
  const ReplicaSlot a = index.slot_of("a");
  const auto chain = chain_of(3, 4);
  using Kind = PageNews::Kind;
  EXPECT_FALSE(index.on_pages(a, {Kind::kChanges, "e1", 1, chain, {}}, 0));
  EXPECT_EQ(matched(index, a, chain, 0), 0);
  ASSERT_TRUE(index.on_pages(a, {Kind::kSnapshot, "e1", 5, chain, {}}, 0));
  EXPECT_FALSE(index.on_pages(a, {Kind::kChanges, "e2", 6, {}, {}}, 0)) << "another process";
  EXPECT_EQ(matched(index, a, chain, 0), 0);
  ASSERT_TRUE(index.on_pages(a, {Kind::kSnapshot, "e2", 5, chain, {}}, 0));
  EXPECT_FALSE(index.on_pages(a, {Kind::kChanges, "e2", 4, {}, {}}, 0)) << "back in time";
}

TEST(prefix_index, stays_within_its_memory_and_keeps_what_is_used) {
  PrefixIndex index(512);
  EXPECT_EQ(index.blocks_max(), 512);
  const ReplicaSlot a = index.slot_of("a");
  const auto kept = chain_of(4, 1);
  for (uint64_t i = 0; i < 5000; ++i) {
    index.guess(a, chain_of(100 + i, 1), static_cast<int64_t>(i) * 1000);
    index.guess(a, kept, static_cast<int64_t>(i) * 1000 + 1);
  }
  EXPECT_LE(index.blocks(), 512);
  EXPECT_GT(index.blocks(), 400);
  EXPECT_EQ(matched(index, a, kept, 5'000'000), 1);
}

TEST(prefix_index, a_released_slot_starts_empty_and_the_65th_replica_has_none) {
  PrefixIndex index(1024);
  const ReplicaSlot a = index.slot_of("a");
  const auto chain = chain_of(5, 3);
  index.guess(a, chain, 0);
  index.release("a");
  const ReplicaSlot b = index.slot_of("b");
  EXPECT_EQ(b.value, a.value);
  EXPECT_EQ(matched(index, b, chain, 0), 0);
  for (int i = 1; i < PrefixIndex::kReplicasMax; ++i)
    EXPECT_GE(index.slot_of("r" + std::to_string(i)).value, 0);
  EXPECT_EQ(index.slot_of("one too many").value, -1);
  index.guess({}, chain, 0);
}

TEST(prefix_index, many_threads_at_once) {
  PrefixIndex index(16384);  // room for all: where it is short, threads take each other's blocks
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&index, t] {
      const ReplicaSlot slot = index.slot_of(std::string(1, static_cast<char>('a' + t)));
      for (uint64_t i = 0; i < 500; ++i) {
        const auto chain = chain_of(i % 50, 8);
        index.guess(slot, chain, static_cast<int64_t>(i));
        EXPECT_EQ(matched(index, slot, chain, static_cast<int64_t>(i)), 8);
        if (i % 100 == 99) index.forget(slot);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(byte_blocks, chain_over_what_came_before) {
  const std::string prompt(1000, 'x');
  std::vector<uint64_t> chain;
  append_byte_blocks(1, prompt, &chain);
  ASSERT_EQ(chain.size(), 3u);
  EXPECT_NE(chain[0], chain[1]);
  std::vector<uint64_t> other;
  append_byte_blocks(2, prompt, &other);
  EXPECT_NE(chain[0], other[0]);
  std::vector<uint64_t> longer;
  append_byte_blocks(1, prompt + "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", &longer);
  EXPECT_EQ(longer.size(), 4u);
  EXPECT_EQ(std::vector<uint64_t>(longer.begin(), longer.begin() + 3), chain);
}

}  // namespace
}  // namespace sluice::gateway
