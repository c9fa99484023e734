// Secrets of API keys: how they are made, and what is kept of them. Only HMAC-SHA-256 of a secret
// under one of the gateway's own hash keys is stored; the secret itself is shown once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::gateway {

inline constexpr std::string_view kSecretPrefix = "sk-sluice-";
inline constexpr int64_t kSecretRandomBytes = 21;  // 168 bits

// "sk-sluice-" + 29 characters base62 of the random bytes + a check character over those.
std::string make_secret(std::span<const uint8_t, kSecretRandomBytes> random);
// The form alone: prefix, length, alphabet, check character. A secret from elsewhere may differ and
// still be a key; what passes as ours and is mistyped is told so.
bool has_valid_check(std::string_view secret);

struct KeyDigest {
  std::array<uint8_t, 32> bytes = {};
  bool operator==(const KeyDigest& other) const;  // the time does not depend on where they differ
};
std::string to_hex(const KeyDigest& digest);
core::Result<KeyDigest> digest_from_hex(std::string_view text);

// A secret of the gateway itself. New keys are hashed with the first of a list; the others are
// older ones whose keys are still valid, until no key names them.
struct HashKey {
  std::string id;
  std::string secret;  // ≥ 32 bytes
};

// The HMAC of one thread: its contexts are set up once and used again.
class KeyHasher {
 public:
  explicit KeyHasher(const std::vector<HashKey>& keys);
  ~KeyHasher();
  KeyHasher(KeyHasher&&) noexcept;
  KeyHasher& operator=(KeyHasher&&) noexcept;

  size_t size() const;
  std::string_view id(size_t index) const;
  KeyDigest digest(size_t index, std::string_view secret);

 private:
  struct Context;
  std::vector<Context> contexts_;
};

}  // namespace sluice::gateway
