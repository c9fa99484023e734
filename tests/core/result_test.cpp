#include "core/result.h"

#include <gtest/gtest.h>

namespace sluice::core {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return invalid("{} is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  const int h = TRY(half(value));
  return TRY(half(h));
}

TEST(Result, TryPassesTheErrorOn) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message, "3 is odd");
  EXPECT_EQ(quarter(6).error().within("quarter").message, "quarter: 3 is odd");
}

TEST(Result, ValueOfAnErrorEndsTheProcess) {
  EXPECT_DEATH((void)half(3).value(), "3 is odd");
}

}  // namespace
}  // namespace sluice::core
