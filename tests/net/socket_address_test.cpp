#include "net/socket_address.h"

#include <string>

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

TEST(SocketAddress, ReadsNumericAddressesAndWritesThemBack) {
  struct Row {
    std::string_view host;
    int family;
    std::string_view written;
    bool unspecified;
  };
  constexpr Row kRows[] = {
      {"127.0.0.1", AF_INET, "127.0.0.1", false},
      {"0.0.0.0", AF_INET, "0.0.0.0", true},
      {"::1", AF_INET6, "::1", false},
      {"::", AF_INET6, "::", true},
      {"2001:DB8:0:0::1", AF_INET6, "2001:db8::1", false},
      {"::ffff:10.1.2.3", AF_INET6, "10.1.2.3", false},  // came in by an IPv6 socket
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.host);
    const auto address = numeric_address(row.host, 8443);
    ASSERT_TRUE(address);
    EXPECT_EQ(address->family(), row.family);
    EXPECT_EQ(host_text(*address), row.written);
    EXPECT_EQ(port_of(*address), 8443);
    EXPECT_EQ(is_unspecified(*address), row.unspecified);
  }
}

TEST(SocketAddress, RefusesWhatIsNone) {
  for (const std::string_view host :
       {"", "localhost", "127.0.0.1.", "127.1", "256.0.0.1", "[::1]", "::1%lo", "1::2::3", " ::1"})
    EXPECT_FALSE(numeric_address(host, 80)) << host;
}

}  // namespace
}  // namespace sluice::net
