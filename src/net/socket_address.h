// Where a socket is or goes to, for the .cpp files of this folder only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "core/result.h"

namespace sluice::net {

struct SocketAddress {
  sockaddr_storage storage = {};  // IPv4 or IPv6
  socklen_t bytes = sizeof(sockaddr_storage);

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* data() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// A numeric address, IPv6 without brackets; nullopt: it is none.
std::optional<SocketAddress> numeric_address(std::string_view host, uint16_t port);

// "127.0.0.1", "::1"; an IPv4 address that came in by an IPv6 socket is one of IPv4.
std::string host_text(const SocketAddress& address);
uint16_t port_of(const SocketAddress& address);
bool is_unspecified(const SocketAddress& address);  // "0.0.0.0", "::"

}  // namespace sluice::net
