#include "contract/network.h"

#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace sluice::contract {
namespace {

constexpr int32_t kIpv4Offset_bits = 96;  // of an IPv4 address inside the IPv6 form
constexpr size_t kAddressBytesMax = 45;

struct ParsedAddress {
  IpAddress address;
  bool ipv4 = false;
};

std::optional<ParsedAddress> parse(std::string_view text) {
  if (text.empty() || text.size() > kAddressBytesMax) return std::nullopt;
  char terminated[kAddressBytesMax + 1] = {};
  std::memcpy(terminated, text.data(), text.size());
  ParsedAddress parsed;
  uint8_t* const bytes = parsed.address.bytes.data();
  if (::inet_pton(AF_INET, terminated, bytes + 12) == 1) {
    bytes[10] = bytes[11] = 0xff;
    parsed.ipv4 = true;
    return parsed;
  }
  if (::inet_pton(AF_INET6, terminated, bytes) == 1) return parsed;
  return std::nullopt;
}

// The bits of byte `index` that belong to a prefix of that length.
uint8_t mask(int32_t prefix_bits, size_t index) {
  const int32_t bits = prefix_bits - static_cast<int32_t>(index) * 8;
  if (bits >= 8) return 0xff;
  return bits <= 0 ? 0 : static_cast<uint8_t>(0xff << (8 - bits));
}

}  // namespace

bool Network::contains(const IpAddress& asked) const {
  for (size_t i = 0; i < asked.bytes.size(); ++i)
    if ((asked.bytes[i] & mask(prefix_bits, i)) != address.bytes[i]) return false;
  return true;
}

std::optional<IpAddress> parse_ip_address(std::string_view text) {
  const auto parsed = parse(text);
  if (!parsed) return std::nullopt;
  return parsed->address;
}

std::optional<Network> parse_network(std::string_view text) {
  const size_t slash = text.find('/');
  const auto parsed = parse(text.substr(0, slash));
  if (!parsed) return std::nullopt;
  Network network{.address = parsed->address, .prefix_bits = 128};
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    int32_t bits = -1;
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (fault != std::errc() || end != digits.data() + digits.size() || digits.size() > 3)
      return std::nullopt;
    if (bits < 0 || bits > (parsed->ipv4 ? 32 : 128)) return std::nullopt;
    network.prefix_bits = bits + (parsed->ipv4 ? kIpv4Offset_bits : 0);
  }
  for (size_t i = 0; i < network.address.bytes.size(); ++i)
    if ((network.address.bytes[i] & ~mask(network.prefix_bits, i)) != 0) return std::nullopt;
  return network;
}

}  // namespace sluice::contract
