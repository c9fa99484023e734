// The response parser that the client stands on.
#include <gtest/gtest.h>

#include "net/http_parser.h"
#include "parse_outcome.h"

namespace sluice::net {
namespace {

struct ResponseCase {
  std::string_view bytes;
  std::string_view outcome;
  Method method = Method::kGet;
};

constexpr ResponseCase kCases[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
     "200 keep=true body=true\n[Content-Length]=[3]\nabc\ndone"},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
     "200 keep=true body=true\n[Content-Length]=[0]\n\ndone"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: "
     "x\r\n\r\n",
     "200 keep=true body=true\n[Transfer-Encoding]=[chunked]\nabcde\ndone"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
     "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
     "204 keep=true body=false\n[X]=[y]\n\ndone"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
     "200 keep=true body=false\n[Content-Length]=[3]\n\ndone", Method::kHead},
    {"HTTP/1.0 200 OK\r\n\r\nabc", "200 keep=false body=true\nabc\nuntil close"},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
     "200 keep=false body=true\n[Connection]=[close]\n[Content-Length]=[1]\nx\ndone"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
     "200 keep=true body=true\n[Content-Length]=[3]\nab\nmore"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
     "\nfailed more than one Content-Length header"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     "\nfailed both Content-Length and Transfer-Encoding"},
    {"HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n", "\nfailed line ends without CR"},
    {"HTTP/2.0 200 OK\r\n\r\n", "\nfailed the peer answers with an unknown HTTP version"},
    {"SSH-2.0-OpenSSH_9.2\r\n", "\nfailed malformed status line"},
    {"HTTP/1.1 20 OK\r\n\r\n", "\nfailed malformed status line"},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "\nfailed unexpected status"},
};

TEST(ResponseParser, ReadsEveryFraming) {
  for (const ResponseCase& c : kCases)
    EXPECT_EQ(response_outcome(c.bytes, {}, {}, c.method), c.outcome) << c.bytes;
}

TEST(ResponseParser, AnyCutGivesTheSame) {
  for (const ResponseCase& c : kCases)
    for (size_t cut = 0; cut <= c.bytes.size(); ++cut)
      ASSERT_EQ(response_outcome(c.bytes, {cut}, {}, c.method), c.outcome)
          << c.bytes << " cut at " << cut;
}

TEST(ResponseParser, ServesOneResponseAfterTheOther) {
  const MessageLimits limits;
  ResponseParser parser(&limits);
  ByteBuffer input;
  input.append("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 404 No\r\n");
  parser.start(Method::kGet);
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kHead);
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kBody);
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kDone);
  parser.start(Method::kGet);
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kNeedMore);
  input.append("Content-Length: 0\r\n\r\n");
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kHead);
  EXPECT_EQ(parser.head().status, 404);
  ASSERT_EQ(parser.next(input), ResponseParser::Event::kDone);
  EXPECT_TRUE(input.empty());
}

}  // namespace
}  // namespace sluice::net
