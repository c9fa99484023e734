#include "contract/block_hash.h"

#include <gtest/gtest.h>

namespace sluice::contract {
namespace {

TEST(BlockHash, ANamespaceIsOfOneModelKvFormatAndSalt) {
  const uint64_t model = model_namespace("0123456789abcdef0", 0);
  EXPECT_EQ(model, model_namespace("0123456789abcdef0", 0));
  EXPECT_NE(model, model_namespace("0123456789abcdef1", 0)) << "the whole digest counts";
  EXPECT_NE(model, model_namespace("0123456789abcdef0", 1)) << "and the format";
  EXPECT_NE(combine_namespace(model, 1), combine_namespace(model, 2));
  EXPECT_EQ(salt_number(""), 0u);
  EXPECT_NE(salt_number("a"), 0u);
  EXPECT_NE(salt_number("a"), salt_number("b"));
}

TEST(BlockHash, APageIsNamedByItsWholePath) {
  std::vector<uint64_t> a;
  extend_page_hashes(1, std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7}, 2, &a);
  ASSERT_EQ(a.size(), 3u) << "the last page is not full";
  EXPECT_EQ(a[0], hash_page(1, std::vector<int32_t>{1, 2}));
  EXPECT_EQ(a[1], hash_page(a[0], std::vector<int32_t>{3, 4}));

  std::vector<uint64_t> b;
  extend_page_hashes(1, std::vector<int32_t>{1, 9, 3, 4}, 2, &b);
  EXPECT_NE(a[1], b[1]) << "the same ids after others";
  extend_page_hashes(2, std::vector<int32_t>{1, 2, 3, 4}, 2, &b);
  EXPECT_EQ(b.size(), 2u) << "what is there stays";
}

// Engines and gateways of different builds meet: these numbers do not change.
TEST(BlockHash, TheNumbersAreThoseOfXxh3) {
  EXPECT_EQ(model_namespace("", 0), 0x2d06800538d394c2ull);
  EXPECT_EQ(hash_page(0, {}), 0x2d06800538d394c2ull);
  EXPECT_EQ(salt_number("acme"), 0x44ad98655d8858e1ull);
}

}  // namespace
}  // namespace sluice::contract
