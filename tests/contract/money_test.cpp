#include "contract/money.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::contract {
namespace {

TEST(Money, AnAmountIsRoundedHalfUpOnce) {
  EXPECT_EQ(amount_of(0, {150'000'000}).nano, 0);
  EXPECT_EQ(amount_of(1, {150'000'000}).nano, 150);
  EXPECT_EQ(amount_of(1, {499'999}).nano, 0);
  EXPECT_EQ(amount_of(1, {500'000}).nano, 1);
  EXPECT_EQ(amount_of(3, {500'000}).nano, 2) << "1.5, and not 3 times 1";
  EXPECT_EQ(amount_of(INT64_MAX, {1'000'000}).nano, INT64_MAX) << "the product has 128 bits";
}

TEST(Money, AnAmountIsWithinHalfANanoOfTheExactOne) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    core::Rng random(seed);
    const int64_t quantity = random.below(1 << 30);
    const int64_t rate = random.below(int64_t{1} << 40);
    const __int128 error = static_cast<__int128>(amount_of(quantity, {rate}).nano) * 1'000'000 -
                           static_cast<__int128>(quantity) * rate;
    EXPECT_TRUE(error > -500'000 && error <= 500'000) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sluice::contract
