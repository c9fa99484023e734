#include "gateway/directory/key_hash.h"

#include <set>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

std::array<uint8_t, kSecretRandomBytes> random_bytes(core::Rng* random) {
  std::array<uint8_t, kSecretRandomBytes> bytes;
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random->bits());
  return bytes;
}

TEST(Secret, HasItsFormAndSeesEveryWrongCharacterAndExchange) {
  core::Rng random(7);
  std::set<std::string> seen;
  for (int round = 0; round < 50; ++round) {
    const std::string secret = make_secret(random_bytes(&random));
    ASSERT_TRUE(has_valid_check(secret)) << secret;
    EXPECT_TRUE(seen.insert(secret).second);
    for (size_t at = kSecretPrefix.size(); at < secret.size(); ++at) {
      std::string wrong = secret;
      wrong[at] = secret[at] == 'a' ? 'b' : 'a';
      EXPECT_FALSE(has_valid_check(wrong)) << wrong;
      if (at + 2 >= secret.size() || secret[at] == secret[at + 1]) continue;
      if (std::set{secret[at], secret[at + 1]} == std::set{'0', 'z'}) continue;
      wrong = secret;
      std::swap(wrong[at], wrong[at + 1]);
      EXPECT_FALSE(has_valid_check(wrong)) << wrong;
    }
  }
}

TEST(Secret, KeepsEveryRandomBit) {
  std::array<uint8_t, kSecretRandomBytes> bytes = {};
  const std::string zero = make_secret(bytes);
  std::set<std::string> seen = {zero};
  for (size_t bit = 0; bit < 8 * kSecretRandomBytes; ++bit) {
    bytes = {};
    bytes[bit / 8] = static_cast<uint8_t>(1 << bit % 8);
    EXPECT_TRUE(seen.insert(make_secret(bytes)).second) << "bit " << bit;
  }
  EXPECT_FALSE(has_valid_check(zero.substr(1)));
  EXPECT_FALSE(has_valid_check(""));
}

// RFC 4231, test case 7: a key longer than a block.
TEST(KeyHasher, IsHmacSha256AndCanBeUsedAgain) {
  KeyHasher hasher({{"long", std::string(131, '\xaa')}, {"second", std::string(32, 'k')}});
  const std::string text =
      "This is a test using a larger than block-size key and a larger than block-size data. The "
      "key needs to be hashed before being used by the HMAC algorithm.";
  const std::string expected = "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2";
  EXPECT_EQ(to_hex(hasher.digest(0, text)), expected);
  EXPECT_NE(to_hex(hasher.digest(1, text)), expected);
  EXPECT_EQ(to_hex(hasher.digest(0, text)), expected);
  EXPECT_EQ(hasher.id(1), "second");
  EXPECT_EQ(digest_from_hex(expected).value(), hasher.digest(0, text));
  EXPECT_FALSE(digest_from_hex(expected.substr(1)).ok());
  EXPECT_FALSE(digest_from_hex(std::string(64, 'g')).ok());
}

}  // namespace
}  // namespace sluice::gateway
