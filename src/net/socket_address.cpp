#include "net/socket_address.h"

#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace sluice::net {
namespace {

const sockaddr_in& v4(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in&>(address.storage);
}
const sockaddr_in6& v6(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in6&>(address.storage);
}

}  // namespace

std::optional<SocketAddress> numeric_address(std::string_view host, uint16_t port) {
  const std::string text(host);
  SocketAddress address;
  auto& four = reinterpret_cast<sockaddr_in&>(address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    address.bytes = sizeof four;
    return address;
  }
  auto& six = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (::inet_pton(AF_INET6, text.c_str(), &six.sin6_addr) != 1) return std::nullopt;
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  address.bytes = sizeof six;
  return address;
}

std::string host_text(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.family() == AF_INET) {
    ::inet_ntop(AF_INET, &v4(address).sin_addr, text, sizeof text);
  } else if (const in6_addr& six = v6(address).sin6_addr; IN6_IS_ADDR_V4MAPPED(&six)) {
    constexpr size_t kPrefixBytes = 12;
    ::inet_ntop(AF_INET, six.s6_addr + kPrefixBytes, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, &six, text, sizeof text);
  }
  return text;
}

uint16_t port_of(const SocketAddress& address) {
  return ntohs(address.family() == AF_INET ? v4(address).sin_port : v6(address).sin6_port);
}

bool is_unspecified(const SocketAddress& address) {
  if (address.family() == AF_INET) return v4(address).sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&v6(address).sin6_addr);
}

}  // namespace sluice::net
