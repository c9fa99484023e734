// Blocks of IP addresses ("10.0.0.0/8", "2001:db8::/32", "127.0.0.1"). IPv4 is the block
// ::ffff:0:0/96 of IPv6 (RFC 4291 §2.5.5.2), so that one comparison serves both.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::contract {

struct IpAddress {
  std::array<uint8_t, 16> bytes = {};
  auto operator<=>(const IpAddress&) const = default;
};

struct Network {
  IpAddress address;        // bits behind the prefix are 0
  int32_t prefix_bits = 0;  // 0 to 128, of the IPv6 form
  bool operator==(const Network&) const = default;
  bool contains(const IpAddress& asked) const;
};

// A numeric address; nullopt for anything else.
std::optional<IpAddress> parse_ip_address(std::string_view text);
// Without "/n" one address. nullopt: no address, a prefix that is too long, or bits behind it set.
std::optional<Network> parse_network(std::string_view text);

}  // namespace sluice::contract
