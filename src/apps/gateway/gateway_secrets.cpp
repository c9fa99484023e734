#include "apps/gateway/gateway_secrets.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <sys/random.h>

#include "gateway/admin/snapshot_file.h"

namespace sluice::apps {
namespace {

constexpr size_t kHashKeyBytesMin = 32;
constexpr size_t kHashKeyRandomBytes = 32;
constexpr std::string_view kOwnHashKeyId = "own";
constexpr std::string_view kBlank = " \t\r\n";

core::Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return core::invalid("cannot read {}: {}", path, std::strerror(errno));
  std::string text(std::istreambuf_iterator<char>(file), {});
  text.erase(text.find_last_not_of(kBlank) + 1);
  return text;
}

core::Result<std::string> read_secret(const gateway::SecretSource& source) {
  std::string text;
  if (source.kind == gateway::SecretSource::Kind::kFile) {
    text = TRY(read_text(source.place));
  } else {
    const char* value = std::getenv(source.place.c_str());
    if (value == nullptr) return core::invalid("the environment has no {}", source.place);
    text = value;
  }
  if (text.empty()) return core::invalid("{} is empty", source.place);
  if (text.find_first_of("\r\n") != std::string::npos)
    return core::invalid("{} has more than one line", source.place);
  return text;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

void fill_with_random_bytes(std::span<uint8_t> out) {
  const ssize_t got = ::getrandom(out.data(), out.size(), 0);
  ASSERT(got == std::ssize(out), "the kernel gave {} of {} random bytes", got, out.size());
}

Secrets read_secrets(const gateway::GatewayConfig& config,
                     std::vector<gateway::ConfigProblem>* problems) {
  Secrets secrets;
  for (const auto& [name, source] : config.secrets) {
    if (source.place.empty()) continue;  // a problem that is known
    auto secret = read_secret(source);
    if (secret.ok())
      secrets.emplace(name, std::move(secret).value());
    else
      problems->push_back(
          {source.line, fmt::format("secrets.{}: {}", name, secret.error().message)});
  }
  for (const gateway::HashKeySource& key : config.hash_keys) {
    const auto secret = secrets.find(key.secret);
    if (secret != secrets.end() && secret->second.size() < kHashKeyBytesMin)
      problems->push_back(
          {key.line, fmt::format("hash_keys '{}': its secret has {} bytes, at least "
                                 "{} are needed",
                                 key.id, secret->second.size(), kHashKeyBytesMin)});
  }
  return secrets;
}

core::Result<std::vector<gateway::HashKey>> hash_keys_of(const gateway::GatewayConfig& config,
                                                         const Secrets& secrets) {
  std::vector<gateway::HashKey> keys;
  for (const gateway::HashKeySource& key : config.hash_keys)
    keys.push_back({key.id, secrets.at(key.secret)});
  if (!keys.empty()) return keys;
  const std::string path = (std::filesystem::path(config.data_folder) / "hash_key").string();
  if (!std::filesystem::exists(path)) {
    std::array<uint8_t, kHashKeyRandomBytes> bytes;
    fill_with_random_bytes(bytes);
    if (auto written = gateway::write_file_atomically(path, to_hex(bytes) + "\n"); !written.ok())
      return written.error();
  }
  std::string secret = TRY(read_text(path));
  if (secret.size() < kHashKeyBytesMin)
    return core::invalid(
        "{}: holds {} characters, at least {} are needed; without it no key that "
        "it hashed is valid",
        path, secret.size(), kHashKeyBytesMin);
  keys.push_back({std::string(kOwnHashKeyId), std::move(secret)});
  return keys;
}

}  // namespace sluice::apps
