#include "net/http.h"

#include <gtest/gtest.h>

#include "net/message_writer.h"

namespace sluice::net {
namespace {

TEST(Http, PercentDecoding) {
  EXPECT_EQ(percent_decode("a%20b%2Fc%e2%82%AC+"), "a b/c\xe2\x82\xac+");
  for (std::string_view broken : {"%", "%4", "a%4", "%zz", "%4g", "%00"})
    EXPECT_EQ(percent_decode(broken), std::nullopt) << broken;
}

TEST(Http, QueryValues) {
  EXPECT_EQ(query_value("a=1&b=x+y%26&c", "b"), "x y&");
  EXPECT_EQ(query_value("a=1&b=2", "a"), "1");
  EXPECT_EQ(query_value("a=1&c", "c"), "");
  EXPECT_EQ(query_value("a=1&a=2", "a"), "1");
  EXPECT_EQ(query_value("a=1", "b"), std::nullopt);
  EXPECT_EQ(query_value("", "b"), std::nullopt);
  EXPECT_EQ(query_value("b=%z", "b"), std::nullopt);
}

TEST(Http, NamesIgnoreCase) {
  EXPECT_TRUE(equal_ignoring_case("Content-TYPE", "content-type"));
  EXPECT_FALSE(equal_ignoring_case("a", "ab"));
  EXPECT_FALSE(equal_ignoring_case("[", "{"));  // differ in the bit that case differs in
  EXPECT_TRUE(is_hop_by_hop("Transfer-Encoding"));
  EXPECT_FALSE(is_hop_by_hop("Content-Type"));
}

TEST(Http, Texts) {
  EXPECT_EQ(status_text(429), "Too Many Requests");
  EXPECT_EQ(status_text(299), "Unknown");
  for (Method method : {Method::kGet, Method::kHead, Method::kPost, Method::kPut, Method::kDelete,
                        Method::kOptions, Method::kPatch})
    EXPECT_EQ(method_from_text(method_text(method)), method);
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(Http, AHeaderCannotBeginALine) {
  std::string out;
  append_header("X", "a\r\nSet-Cookie: b", &out);
  EXPECT_EQ(out, "X: a  Set-Cookie: b\r\n");
}

TEST(Http, AProxyPassesOnWhatIsEndToEnd) {
  const Header headers[] = {
      {"Connection", "close , X-Hop,"}, {"x-hop", "1"},  {"X-End", "2"}, {"TE", "trailers"},
      {"connection", "X-Other"},        {"X-OTHER", "3"}};
  const std::vector<Header> kept = end_to_end(headers);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].name, "X-End");
}

}  // namespace
}  // namespace sluice::net
