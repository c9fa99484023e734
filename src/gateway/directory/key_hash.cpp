#include "gateway/directory/key_hash.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

namespace sluice::gateway {
namespace {

constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kSecretDigits = 29;  // 62^29 > 2^168
constexpr size_t kHashKeyBytesMin = 32;

// A weighted sum of the digits modulo a prime: one wrong digit or two exchanged neighbours change
// it, unless they are '0' and 'z', which are the same to this prime.
char check_character(std::string_view digits) {
  constexpr size_t kPrime = 61;
  size_t sum = 0;
  for (size_t i = 0; i < digits.size(); ++i) sum += (i + 1) * kDigits.find(digits[i]);
  return kDigits[sum % kPrime];
}

constexpr std::array<int8_t, 256> kHexValues = [] {
  std::array<int8_t, 256> values = {};
  values.fill(-1);
  for (int digit = 0; digit < 16; ++digit) {
    constexpr std::string_view kHex = "0123456789abcdef";
    values[static_cast<uint8_t>(kHex[static_cast<size_t>(digit)])] = static_cast<int8_t>(digit);
  }
  return values;
}();

}  // namespace

std::string make_secret(std::span<const uint8_t, kSecretRandomBytes> random) {
  std::array<uint8_t, kSecretRandomBytes> number;
  std::copy(random.begin(), random.end(), number.begin());
  std::string secret(kSecretPrefix);
  for (size_t digit = 0; digit < kSecretDigits; ++digit) {
    uint32_t rest = 0;  // long division of the number by 62
    for (uint8_t& byte : number) {
      const uint32_t value = rest << 8 | byte;
      byte = static_cast<uint8_t>(value / kDigits.size());
      rest = value % kDigits.size();
    }
    secret += kDigits[rest];
  }
  secret += check_character(std::string_view(secret).substr(kSecretPrefix.size()));
  return secret;
}

bool has_valid_check(std::string_view secret) {
  return secret.size() == kSecretPrefix.size() + kSecretDigits + 1 &&
         secret.starts_with(kSecretPrefix) &&
         secret.find_first_not_of(kDigits, kSecretPrefix.size()) == std::string_view::npos &&
         secret.back() == check_character(secret.substr(kSecretPrefix.size(), kSecretDigits));
}

bool KeyDigest::operator==(const KeyDigest& other) const {
  return CRYPTO_memcmp(bytes.data(), other.bytes.data(), bytes.size()) == 0;
}

std::string to_hex(const KeyDigest& digest) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest.bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

core::Result<KeyDigest> digest_from_hex(std::string_view text) {
  KeyDigest digest;
  if (text.size() != 2 * digest.bytes.size())
    return core::invalid("a hash of {} hexadecimal digits, must be {}", text.size(),
                         2 * digest.bytes.size());
  for (size_t i = 0; i < digest.bytes.size(); ++i) {
    const int high = kHexValues[static_cast<uint8_t>(text[2 * i])];
    const int low = kHexValues[static_cast<uint8_t>(text[2 * i + 1])];
    if (high < 0 || low < 0) return core::invalid("a hash with '{}'", text.substr(2 * i, 2));
    digest.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return digest;
}

struct KeyHasher::Context {
  struct Free {
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
  };
  std::string id;
  std::unique_ptr<EVP_MAC_CTX, Free> mac;
};

KeyHasher::KeyHasher(const std::vector<HashKey>& keys) {
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> hmac(
      EVP_MAC_fetch(nullptr, "HMAC", nullptr), &EVP_MAC_free);
  ASSERT(hmac != nullptr, "OpenSSL has no HMAC");
  char digest_name[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
      OSSL_PARAM_construct_end()};
  for (const HashKey& key : keys) {
    ASSERT(key.secret.size() >= kHashKeyBytesMin, "hash key '{}' has {} bytes, at least {}", key.id,
           key.secret.size(), kHashKeyBytesMin);
    Context context{.id = key.id, .mac = nullptr};
    context.mac.reset(EVP_MAC_CTX_new(hmac.get()));
    const auto* bytes = reinterpret_cast<const unsigned char*>(key.secret.data());
    const int set = EVP_MAC_init(context.mac.get(), bytes, key.secret.size(), parameters);
    ASSERT(set == 1, "HMAC-SHA-256 with hash key '{}' was refused", key.id);
    contexts_.push_back(std::move(context));
  }
}

KeyHasher::~KeyHasher() = default;
KeyHasher::KeyHasher(KeyHasher&&) noexcept = default;
KeyHasher& KeyHasher::operator=(KeyHasher&&) noexcept = default;

size_t KeyHasher::size() const {
  return contexts_.size();
}

std::string_view KeyHasher::id(size_t index) const {
  return contexts_[index].id;
}

KeyDigest KeyHasher::digest(size_t index, std::string_view secret) {
  EVP_MAC_CTX* const mac = contexts_[index].mac.get();
  KeyDigest digest;
  size_t written = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(secret.data());
  const bool done = EVP_MAC_init(mac, nullptr, 0, nullptr) == 1 &&  // the same key, begun anew
                    EVP_MAC_update(mac, bytes, secret.size()) == 1 &&
                    EVP_MAC_final(mac, digest.bytes.data(), &written, digest.bytes.size()) == 1;
  ASSERT(done && written == digest.bytes.size(), "HMAC-SHA-256 gave {} bytes", written);
  return digest;
}

}  // namespace sluice::gateway
