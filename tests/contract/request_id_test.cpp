#include "contract/request_id.h"

#include <gtest/gtest.h>

namespace sluice::contract {
namespace {

TEST(RequestId, HasOneText) {
  const RequestId id = {0xfedcba9876543210, 0xa};
  EXPECT_EQ(to_text(id), "req_fedcba9876543210_000000000000000a");
  EXPECT_EQ(*parse_request_id(to_text(id)), id);
  for (const char* text :
       {"", "req_", "req_fedcba9876543210_000000000000000A", "req_fedcba9876543210_00000000000000a",
        "req_fedcba9876543210_000000000000000a0", "req-fedcba9876543210_000000000000000a",
        "req_fedcba9876543210-000000000000000a", "req_fedcba987654321 _000000000000000a"})
    EXPECT_FALSE(parse_request_id(text).ok()) << text;
}

TEST(RequestId, IsNeverGivenTwiceAndKnowsItsStart) {
  RequestIds first(7, 1);
  RequestIds second(7, 2);
  const RequestId a = first.next();
  const RequestId b = first.next();
  const RequestId c = second.next();
  EXPECT_LT(a, b);
  EXPECT_LT(b, c);
  EXPECT_TRUE(second.has_given(c) && second.has_given(a)) << "now, and at an earlier start";
  EXPECT_FALSE(second.has_given({7, c.sequence + 1})) << "not yet";
  EXPECT_FALSE(second.has_given({8, a.sequence})) << "of another gateway";
  EXPECT_FALSE(second.has_given({7, 5})) << "of no start";
  EXPECT_EQ(start_of(b), 1u);
  EXPECT_EQ(start_of(c), 2u);
}

}  // namespace
}  // namespace sluice::contract
