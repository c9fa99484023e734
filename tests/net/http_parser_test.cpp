// The request parser: what it accepts, what it refuses with which status, and that the result does
// not depend on how the bytes arrive.
#include "net/http_parser.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "parse_outcome.h"

namespace sluice::net {
namespace {

std::string outcome(std::string_view bytes, const MessageLimits& limits = {}) {
  return request_outcome(bytes, {}, limits);
}

std::string repeated(std::string_view text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(RequestParser, ReadsAPost) {
  EXPECT_EQ(outcome("POST /v1/models?limit=2 HTTP/1.1\r\nHost: a:80\r\nX-Empty:\r\n"
                    "content-LENGTH:  3 \r\n\r\nabc"),
            "POST /v1/models?limit=2 1.1 keep=true body=abc\n"
            "[Host]=[a:80]\n[X-Empty]=[]\n[content-LENGTH]=[3]\n"
            "more head=false body=0");
}

TEST(RequestParser, ReadsChunkedRequestsInARow) {
  const std::string_view request =
      "PUT / HTTP/1.0\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx"
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n";
  const std::string twice = outcome(fmt::format("{}{}", request, request));
  const std::string once = outcome(request);
  const std::string answered = once.substr(0, once.find("more"));
  EXPECT_NE(answered.find("body=y"), std::string::npos) << once;
  EXPECT_EQ(twice, answered + once);
}

TEST(RequestParser, SplitsTheTarget) {
  const MessageLimits limits;
  RequestParser parser(&limits);
  ByteBuffer input;
  input.append("GET /a/b?c=d?e HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_EQ(parser.parse(input), RequestParser::Status::kComplete);
  std::vector<Header> headers;
  const Request request = parser.request(input, &headers);
  EXPECT_EQ(request.path, "/a/b");
  EXPECT_EQ(request.query, "c=d?e");
  EXPECT_EQ(request.header("HOST"), "h");
  EXPECT_EQ(request.header("absent"), std::nullopt);
}

TEST(RequestParser, JoinsChunksAndDropsTrailers) {
  EXPECT_EQ(outcome("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nChecksum: 5\r\n\r\n"
                    "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"),
            "POST / 1.1 keep=true body=abc0123456789\n[Host]=[a]\n[Transfer-Encoding]=[chunked]\n"
            "GET /next 1.1 keep=true body=\n[Host]=[a]\nmore head=false body=0");
}

struct KeepAliveCase {
  std::string_view version;
  std::string_view connection;
  bool keep_alive;
};

TEST(RequestParser, KnowsWhetherTheConnectionStays) {
  constexpr KeepAliveCase kCases[] = {
      {"1.1", "", true},
      {"1.1", "Connection: close\r\n", false},
      {"1.1", "Connection: Keep-Alive, Close\r\n", false},
      {"1.0", "", false},
      {"1.0", "Connection: foo, keep-alive\r\n", true},
      {"1.0", "Connection: keep-alive\r\nConnection: close\r\n", false},
  };
  for (const KeepAliveCase& c : kCases) {
    const std::string result =
        outcome(fmt::format("GET / HTTP/{}\r\nHost: a\r\n{}\r\n", c.version, c.connection));
    EXPECT_NE(result.find(c.keep_alive ? "keep=true" : "keep=false"), std::string::npos)
        << c.version << " " << c.connection << " gives " << result;
  }
}

// Good requests that a strict parser must still take.
constexpr std::string_view kAccepted[] = {
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /?q=%20&r={} HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: tab\there \x80\xff\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000000000\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 0\r\n\r\n",
};

TEST(RequestParser, AcceptsWhatIsUnusualButClear) {
  for (std::string_view bytes : kAccepted)
    EXPECT_NE(outcome(bytes).find("keep="), std::string::npos) << bytes << outcome(bytes);
}

struct RefusedCase {
  int status;
  std::string_view why;
  std::string bytes;
};

// A complete head that begins with a good request line and Host, and a header more.
std::string with_header(std::string_view header) {
  return fmt::format("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", header);
}
std::string with_chunks(std::string_view body) {
  return fmt::format("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", body);
}

std::vector<RefusedCase> refused_start_lines() {
  return {
      {400, "no version", "GET /\r\n\r\n"},
      {400, "two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "space first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "bare LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"},
      {400, "bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "control byte in the target", std::string("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n")},
      {400, "NUL in the target", std::string("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28)},
      {400, "non-ASCII target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "fragment in the target", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "absolute form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "lower-case protocol", "GET / http/1.1\r\nHost: a\r\n\r\n"},
      {400, "version without minor", "GET / HTTP/1\r\nHost: a\r\n\r\n"},
      {400, "version with two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
      {400, "not HTTP at all", "\x16\x03\x01\x02 hello\r\n\r\n"},
      {400, "invalid method character", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {405, "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {405, "TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {501, "unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {501, "lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {505, "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {505, "HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
      {505, "HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n"},
      {414, "long target", "GET /" + repeated("a", 8192) + " HTTP/1.1\r\nHost: a\r\n\r\n"},
      {414, "endless request line", "GET /" + repeated("a", 70000)},
      {414, "endless method", repeated("A", 9000)},
  };
}

std::vector<RefusedCase> refused_headers() {
  return {
      {400, "no Host", "GET / HTTP/1.1\r\n\r\n"},
      {400, "two Hosts", with_header("Host: a")},
      {400, "Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
      {400, "Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
      {400, "Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
      {400, "two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"},
      {400, "no colon", with_header("abc")},
      {400, "no name", with_header(": abc")},
      {400, "space before the colon", with_header("Content-Length : 5")},
      {400, "tab before the colon", with_header("X\t: 5")},
      {400, "folded line", with_header("X: a\r\n b")},
      {400, "folded line with a tab", with_header("X: a\r\n\tb")},
      {400, "folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
      {400, "invalid name character", with_header("X(y): a")},
      {400, "non-ASCII name", with_header("X\xc3\xa9: a")},
      {400, "NUL in a name", with_header(std::string_view("X\0: a", 5))},
      {400, "NUL in a value", with_header(std::string_view("X: \0", 4))},
      {400, "control byte in a value", with_header("X: \x1b[0m")},
      {400, "DEL in a value", with_header("X: \x7f")},
      {400, "bare CR in a value", with_header("X: a\rTransfer-Encoding: chunked")},
      {400, "bare LF in a value", with_header("X: a\nTransfer-Encoding: chunked")},
      {400, "bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"},
      {400, "CR CR LF", with_header("X: a\r")},
      {431, "too many headers", with_header(repeated("a: b\r\n", 128) + "c: d")},
      {431, "long header", with_header("X: " + repeated("a", 65536))},
      {431, "endless header", "GET / HTTP/1.1\r\nX: " + repeated("a", 65536)},
      {417, "unknown expectation", with_header("Expect: 200-ok")},
  };
}

std::vector<RefusedCase> refused_framing() {
  return {
      {400, "length and chunks", with_header("Content-Length: 3\r\nTransfer-Encoding: chunked")},
      {400, "chunks and length", with_header("Transfer-Encoding: chunked\r\nContent-Length: 3")},
      {400, "differing lengths", with_header("Content-Length: 3\r\nContent-Length: 4")},
      {400, "equal lengths", with_header("Content-Length: 3\r\nContent-Length: 3")},
      {400, "list of lengths", with_header("Content-Length: 3, 3")},
      {400, "negative length", with_header("Content-Length: -1")},
      {400, "signed length", with_header("Content-Length: +5")},
      {400, "hexadecimal length", with_header("Content-Length: 0x5")},
      {400, "fractional length", with_header("Content-Length: 5.0")},
      {400, "exponent length", with_header("Content-Length: 1e3")},
      {400, "empty length", with_header("Content-Length:")},
      {400, "two numbers", with_header("Content-Length: 1 2")},
      {413, "length over the limit", with_header("Content-Length: 33554433")},
      {413, "length over 64 bits", with_header("Content-Length: 99999999999999999999999")},
      {413, "length that wraps to 5", with_header("Content-Length: 18446744073709551621")},
      {501, "gzip", with_header("Transfer-Encoding: gzip")},
      {501, "gzip and chunked", with_header("Transfer-Encoding: gzip, chunked")},
      {501, "chunked twice in one line", with_header("Transfer-Encoding: chunked, chunked")},
      {501, "identity", with_header("Transfer-Encoding: identity")},
      {501, "quoted", with_header("Transfer-Encoding: \"chunked\"")},
      {501, "empty encoding", with_header("Transfer-Encoding:")},
      {501, "vertical tab is no space", with_header("Transfer-Encoding: xchunked")},
      {400, "chunked twice",
       with_header("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")},
      {400, "chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {400, "chunk size is no number", with_chunks("x\r\n")},
      {400, "chunk size is empty", with_chunks("\r\n")},
      {400, "chunk size with a sign", with_chunks("+3\r\nabc\r\n")},
      {400, "chunk size with 0x", with_chunks("0x3\r\nabc\r\n")},
      {400, "space before the chunk size", with_chunks(" 3\r\nabc\r\n")},
      {400, "space after the chunk size", with_chunks("3 \r\nabc\r\n")},
      {400, "chunk size over 64 bits", with_chunks("10000000000000003\r\nabc\r\n")},
      {413, "chunk over the limit", with_chunks("2000001\r\n")},
      {413, "chunks over the limit together", with_chunks("3\r\nabc\r\n1ffffff\r\n")},
      {400, "bare LF after the chunk size", with_chunks("3\nabc\r\n")},
      {400, "chunk longer than its size", with_chunks("3\r\nabcd\r\n")},
      {400, "chunk shorter than its size", with_chunks("3\r\nab\r\n0\r\n\r\n")},
      {400, "bare LF after a chunk", with_chunks("3\r\nabc\n")},
      {400, "bare CR after a chunk", with_chunks("3\r\nabc\rX0\r\n\r\n")},
      {400, "control byte in an extension", with_chunks("3;a\x01\r\nabc\r\n")},
      {400, "long extension", with_chunks("3;" + repeated("a", 300) + "\r\nabc\r\n")},
      {400, "endless extension", with_chunks("3;" + repeated("a", 300))},
      {400, "many extensions", with_chunks(repeated("1;" + repeated("a", 200) + "\r\nx\r\n", 30))},
      {400, "trailer without a colon", with_chunks("0\r\nabc\r\n\r\n")},
      {400, "trailer with a bare LF", with_chunks("0\r\na: b\n\r\n")},
      {400, "folded trailer", with_chunks("0\r\n a: b\r\n\r\n")},
      {431, "long trailers", with_chunks("0\r\n" + repeated("a: b\r\n", 2000) + "\r\n")},
      {431, "endless trailer", with_chunks("0\r\na: " + repeated("b", 9000))},
  };
}

std::vector<RefusedCase> all_refused() {
  std::vector<RefusedCase> all;
  for (const auto& cases : {refused_start_lines(), refused_headers(), refused_framing()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

TEST(RequestParser, RefusesWithTheRightStatus) {
  EXPECT_GE(all_refused().size(), 100u);
  for (const RefusedCase& c : all_refused())
    EXPECT_EQ(outcome(c.bytes).substr(0, 4), fmt::format("{} ", c.status)) << c.why;
}

TEST(RequestParser, TheMessageNamesTheFault) {
  EXPECT_EQ(outcome(with_header("Content-Length: +5")),
            "400 Content-Length is not a decimal number");
  EXPECT_EQ(outcome(with_header("Content-Length: 3\r\nTransfer-Encoding: chunked")),
            "400 both Content-Length and Transfer-Encoding");
  EXPECT_EQ(outcome(with_header("X: a\r\n\tb")), "400 folded header lines are not allowed");
}

// All cuts in two; long texts at every 509th place only.
TEST(RequestParser, AnyCutGivesTheSame) {
  std::vector<std::string> texts(std::begin(kAccepted), std::end(kAccepted));
  for (const RefusedCase& c : all_refused()) texts.push_back(c.bytes);
  texts.push_back(with_chunks("3;x\r\nabc\r\nB\r\n01234567890\r\n0\r\nT: x\r\n\r\n") +
                  with_chunks("1\r\nx\r\n0\r\n\r\n") + texts[0]);
  const MessageLimits limits;
  for (const std::string& text : texts) {
    const std::string whole = request_outcome(text, {}, limits);
    const size_t stride = text.size() > 2000 ? 509 : 1;
    for (size_t cut = 0; cut <= text.size(); cut += stride)
      ASSERT_EQ(request_outcome(text, {cut}, limits), whole) << text << " cut at " << cut;
  }
}

TEST(RequestParser, ByteByByteGivesTheSame) {
  std::vector<std::string> texts(std::begin(kAccepted), std::end(kAccepted));
  for (const RefusedCase& c : all_refused()) texts.push_back(c.bytes);
  const MessageLimits limits;
  for (const std::string& text : texts) {
    std::vector<size_t> cuts;
    for (size_t i = 1; i < text.size(); ++i) cuts.push_back(i);
    ASSERT_EQ(request_outcome(text, cuts, limits), request_outcome(text, {}, limits)) << text;
  }
}

TEST(RequestParser, LimitsAreExact) {
  MessageLimits limits;
  limits.target_bytes_max = 10;
  limits.header_bytes_max = 100;
  limits.headers_max = 2;
  limits.body_bytes_max = 5;
  const auto status = [&](const std::string& bytes) { return outcome(bytes, limits).substr(0, 4); };
  const auto target = [](size_t n) { return "GET /" + repeated("a", n - 1) + " HTTP/1.1\r\n"; };
  EXPECT_EQ(status(target(10) + "Host: a\r\n\r\n"), "GET ");
  EXPECT_EQ(status(target(11) + "Host: a\r\n\r\n"), "414 ");
  const auto head = [&](size_t n) {
    return target(5) + "Host: a\r\nX: " + repeated("b", n - 36) + "\r\n\r\n";
  };
  ASSERT_EQ(head(100).size(), 100u);
  EXPECT_EQ(status(head(100)), "GET ");
  EXPECT_EQ(status(head(101)), "431 ");
  EXPECT_EQ(status(target(5) + "Host: a\r\nX: a\r\n\r\n"), "GET ");
  EXPECT_EQ(status(target(5) + "Host: a\r\nX: a\r\nY: a\r\n\r\n"), "431 ");
  EXPECT_EQ(status(with_header("Content-Length: 5") + "abcde"), "POST");
  EXPECT_EQ(status(with_header("Content-Length: 6")), "413 ");
  limits.header_bytes_max = 200;
  EXPECT_EQ(status(with_chunks("3\r\nabc\r\n2\r\nab\r\n0\r\n\r\n")), "POST");
  EXPECT_EQ(status(with_chunks("3\r\nabc\r\n3\r\n")), "413 ");
}

TEST(RequestParser, AnyCutOfALineAtItsLimitGivesTheSame) {
  MessageLimits limits;
  limits.target_bytes_max = 10;
  limits.header_bytes_max = 200;
  limits.chunk_line_bytes_max = 6;
  limits.trailer_bytes_max = 8;
  std::vector<std::string> texts;
  for (size_t more = 0; more < 4; ++more) {
    texts.push_back("GET /" + repeated("a", 58 + more) + " HTTP/1.1\r\nHost: a\r\n\r\n");
    texts.push_back(with_chunks("1;" + repeated("a", 3 + more) + "\r\nx\r\n0\r\n\r\n"));
    texts.push_back(with_chunks("0\r\na:" + repeated("b", more) + "\r\n\r\n"));
    texts.push_back("GET / HTTP/1.1\r\nHost: " + repeated("a", 172 + more) + "\r\n\r\n");
  }
  for (const std::string& text : texts)
    for (size_t cut = 0; cut <= text.size(); ++cut)
      ASSERT_EQ(request_outcome(text, {cut}, limits), request_outcome(text, {}, limits))
          << text << " cut at " << cut;
}

// A sender of one-byte chunks does not make the buffer grow beyond the body.
TEST(RequestParser, KeepsNoChunkFraming) {
  const MessageLimits limits;
  RequestParser parser(&limits);
  ByteBuffer input;
  input.append(with_chunks(""));
  const size_t head_bytes = input.size();
  ASSERT_EQ(parser.parse(input), RequestParser::Status::kNeedMore);
  for (int i = 0; i < 1000; ++i) {
    input.append("1\r\nx\r\n");
    ASSERT_EQ(parser.parse(input), RequestParser::Status::kNeedMore);
    ASSERT_EQ(input.size(), head_bytes + static_cast<size_t>(i) + 1);
  }
  EXPECT_EQ(parser.body_bytes(), 1000);
}

TEST(RequestParser, RandomBytesInRandomPiecesGiveTheSame) {
  constexpr uint64_t kSeed = 20240611;
  core::Rng rng(kSeed);
  const std::vector<RefusedCase> refused = all_refused();
  const MessageLimits limits;
  for (int round = 0; round < 3000; ++round) {
    std::string text(kAccepted[static_cast<size_t>(rng.below(std::size(kAccepted)))]);
    const std::string& more =
        refused[static_cast<size_t>(rng.below(static_cast<int64_t>(refused.size())))].bytes;
    text += more.substr(0, 2000);
    for (int64_t i = rng.below(4); i > 0; --i)
      text[static_cast<size_t>(rng.below(static_cast<int64_t>(text.size())))] =
          static_cast<char>(rng.bits());
    std::vector<size_t> cuts;
    for (size_t at = 0; at < text.size(); at += static_cast<size_t>(1 + rng.below(40)))
      cuts.push_back(at);
    ASSERT_EQ(request_outcome(text, cuts, limits), request_outcome(text, {}, limits))
        << "seed " << kSeed << " round " << round << "\n"
        << text;
  }
}

}  // namespace
}  // namespace sluice::net
