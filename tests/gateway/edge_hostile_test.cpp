// Requests that nobody honest sends: each is answered as it should be, and nothing of it reaches an
// upstream that should not.
#include <atomic>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct HostileRow {
  const char* what;
  std::string bytes;
  int status;
};

std::string body_row(std::string_view body) {
  return post_text(body);
}

std::string head_row(std::string_view headers) {
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{}\r\n",
      kSecret, headers);
}

std::string get_row(std::string_view target) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", target,
                     kSecret);
}

std::string key_row(std::string_view authorization) {
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\r\n{}",
      authorization, sizeof(kBody) - 1, kBody);
}

std::string nested(int depth) {
  return R"({"model":"m","messages":[{"role":"user","content":)" +
         std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']') + "}]}";
}

std::vector<HostileRow> smuggling_rows() {
  return {
      {"two lengths", head_row("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello", 400},
      {"the same length twice", head_row("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello",
       400},
      {"length and chunks",
       head_row("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
      {"chunks named twice",
       head_row("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"chunks and identity", head_row("Transfer-Encoding: chunked, identity\r\n"), 501},
      {"chunks misspelled", head_row("Transfer-Encoding: xchunked\r\n"), 501},
      {"blank before the colon", head_row("Transfer-Encoding : chunked\r\n"), 400},
      {"a folded header", head_row("X-A: b\r\n c\r\n"), 400},
      {"a bare line feed", head_row("X-A: b\nX-B: c\r\n"), 400},
      {"NUL in a header", head_row(std::string("X-A: b\0c\r\n", 10)), 400},
      {"a negative length", head_row("Content-Length: -1\r\n"), 400},
      {"a length with a sign", head_row("Content-Length: +5\r\n") + "hello", 400},
      {"a hexadecimal length", head_row("Content-Length: 0x5\r\n") + "hello", 400},
      {"a length over 2^63", head_row("Content-Length: 99999999999999999999\r\n"), 413},
      {"a chunk size that overflows",
       head_row("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n", 400},
      {"a chunk longer than its size",
       head_row("Transfer-Encoding: chunked\r\n") + "1\r\nab\r\n0\r\n\r\n", 400},
      {"a chunk size that is none", head_row("Transfer-Encoding: chunked\r\n") + "zz\r\n", 400},
      {"no Host", "POST /v1/chat/completions HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"an absolute target", "GET http://evil/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405},
      {"TRACE", "TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405},
      {"a method nobody knows", "BREW /livez HTTP/1.1\r\nHost: a\r\n\r\n", 501},
  };
}

std::vector<HostileRow> grammar_rows() {
  return {
      {"chunks before HTTP/1.1",
       "POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n",
       400},
      {"lengths in a list", head_row("Content-Length: 5, 5\r\n") + "hello", 400},
      {"a length with a blank in it", head_row("Content-Length: 1 0\r\n"), 400},
      {"an empty length", head_row("Content-Length:\r\n"), 400},
      {"chunks named with a vertical tab",
       head_row("Transfer-Encoding: \x0b"
                "chunked\r\n"),
       400},
      {"chunks behind an empty coding", head_row("Transfer-Encoding: , chunked\r\n"), 501},
      {"a header without a name", head_row(": chunked\r\n"), 400},
      {"a header without a colon", head_row("chunked\r\n"), 400},
      {"a header name in quotes", head_row("\"Transfer-Encoding\": chunked\r\n"), 400},
      {"a header name with bytes over 127", head_row("Tr\xc3\xa4nsfer: x\r\n"), 400},
      {"a bare carriage return", head_row("X-A: b\rContent-Length: 5\r\n"), 400},
      {"a first header that is folded", "POST /v1/chat/completions HTTP/1.1\r\n Host: a\r\n\r\n",
       400},
      {"two blanks in the request line", "GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a tab in the request line", "GET\t/livez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a blank in the target", "GET /livez x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"a fragment in the target", "GET /livez#x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"bytes over 127 in the target", "GET /l\xc3\xaevez HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no version", "GET /livez\r\nHost: a\r\n\r\n", 400},
      {"HTTP/1.2 in small letters", "GET /livez http/1.1\r\nHost: a\r\n\r\n", 400},
      {"HTTP/3.0", "GET /livez HTTP/3.0\r\nHost: a\r\n\r\n", 505},
      {"a method in small letters", "get /livez HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"TLS to a plain port", std::string("\x16\x03\x01\x02\0\x01\0\r\n\r\n", 11), 400},
      {"a chunk size with 0x", head_row("Transfer-Encoding: chunked\r\n") + "0x5\r\nhello", 400},
      {"a chunk size with a sign", head_row("Transfer-Encoding: chunked\r\n") + "+5\r\nhello", 400},
      {"a chunk size with a blank before it",
       head_row("Transfer-Encoding: chunked\r\n") + " 5\r\nhello", 400},
      {"a chunk line that ends in a bare line feed",
       head_row("Transfer-Encoding: chunked\r\n") + "5\nhello\r\n0\r\n\r\n", 400},
      {"a chunk extension with a bare line feed",
       head_row("Transfer-Encoding: chunked\r\n") + "5;a\nb\r\nhello\r\n0\r\n\r\n", 400},
      {"a chunk extension of 20 KB",
       head_row("Transfer-Encoding: chunked\r\n") + "5;" + std::string(20'000, 'a') + "\r\n", 400},
      {"a chunk of 64 MB announced", head_row("Transfer-Encoding: chunked\r\n") + "4000000\r\n",
       413},
  };
}

std::vector<HostileRow> size_and_path_rows() {
  return {
      {"a header of 70 KB", head_row("X-A: " + std::string(70'000, 'a') + "\r\n"), 431},
      {"a thousand headers", head_row([] {
         std::string many;
         for (int i = 0; i < 1000; ++i) many += "a: b\r\n";
         return many;
       }()),
       431},
      {"a target of 20 KB", get_row("/" + std::string(20'000, 'a')), 414},
      {"a body of 64 MB announced", head_row("Content-Length: 67108864\r\n"), 413},
      {"an unknown expectation", head_row("Expect: 200-maybe\r\nContent-Length: 0\r\n"), 417},
      {"dot segments", get_row("/v1/../admin/v1/keys"), 404},
      {"encoded dot segments", get_row("/v1/%2e%2e/admin/v1/keys"), 404},
      {"two slashes", get_row("//v1/models"), 404},
      {"an encoded slash", get_row("/v1%2fmodels"), 404},
      {"a slash at the end", get_row("/v1/models/"), 404},
      {"capitals", get_row("/V1/models"), 404},
      {"a path parameter", get_row("/v1/models;x=1"), 404},
      {"the engine's own paths", get_row("/internal/events"), 404},
      {"the admin API", get_row("/admin/v1/keys"), 404},
      {"NUL in a model's name", get_row("/v1/models/%00"), 404},
      {"a broken escape", get_row("/v1/models/%zz"), 404},
      {"GET where POST is meant", get_row("/v1/chat/completions"), 405},
  };
}

std::vector<HostileRow> key_rows() {
  return {
      {"no key", key_row(""), 401},
      {"an empty key", key_row("Authorization: Bearer \r\n"), 401},
      {"another scheme", key_row("Authorization: Basic c2stdGVzdA==\r\n"), 401},
      {"a key that is the beginning of one", key_row("Authorization: Bearer sk-tes\r\n"), 401},
      {"a key that begins with one", key_row("Authorization: Bearer sk-test1\r\n"), 401},
      {"a scheme without a key", key_row("Authorization: Bearer\r\n"), 401},
      {"a key without a scheme", key_row("Authorization: sk-test\r\n"), 401},
      {"a key behind two blanks", key_row("Authorization: Bearer  sk-test\r\n"), 401},
      {"a key and more", key_row("Authorization: Bearer sk-test, Bearer x\r\n"), 401},
      {"a key of 16 KB", key_row("Authorization: Bearer " + std::string(16'000, 'k') + "\r\n"),
       401},
      {"a key of bytes over 127", key_row("Authorization: Bearer \xff\xfe\r\n"), 401},
      {"a key in another header", key_row("X-Api-Key: sk-test\r\n"), 401},
      {"the engine's key", key_row("X-Sluice-Key: engine-secret\r\n"), 401},
      {"two keys", key_row("Authorization: Bearer sk-test\r\nAuthorization: Bearer x\r\n"), 401},
  };
}

std::vector<HostileRow> body_rows() {
  const std::string messages = R"("messages":[{"role":"user","content":"x"}])";
  const auto with = [&](std::string_view fields) {
    return body_row(fmt::format("{{\"model\":\"m\",{},{}}}", messages, fields));
  };
  return {
      {"no body", body_row(""), 400},
      {"half an object", body_row("{\"model\":\"m\""), 400},
      {"a list", body_row("[]"), 400},
      {"two objects", body_row("{}{}"), 400},
      {"text behind the object", body_row(std::string(kBody) + " x"), 400},
      {"no UTF-8", body_row("{\"model\":\"\xff\xfe\"}"), 400},
      {"NaN", with("\"temperature\":NaN"), 400},
      {"a comma too many", with("\"a\":1,"), 400},
      {"a raw control character", with("\"a\":\"\x01\""), 400},
      {"200 levels", body_row(nested(200)), 400},
      {"100,000 levels", body_row(nested(100'000)), 400},
      {"no model", body_row("{" + messages + "}"), 400},
      {"a model that is a number", body_row("{\"model\":1," + messages + "}"), 400},
      {"a model that is null", body_row("{\"model\":null," + messages + "}"), 400},
      {"an empty model", body_row("{\"model\":\"\"," + messages + "}"), 400},
      {"another model", body_row("{\"model\":\"x\"," + messages + "}"), 404},
      {"two models", with("\"model\":\"x\""), 400},
      {"two models, one escaped", with("\"mod\\u0065l\":\"x\""), 400},
      {"a model's key escaped", body_row("{\"mod\\u0065l\":\"m\"," + messages + "}"), 400},
      {"stream given twice", with("\"stream\":false,\"stream\":true"), 400},
      {"stream that is text", with("\"stream\":\"true\""), 400},
      {"max_tokens below 0", with("\"max_tokens\":-1"), 400},
      {"max_tokens of a half", with("\"max_tokens\":1.5"), 400},
      {"max_tokens over all", with("\"max_tokens\":1e18"), 400},
      {"max_tokens given twice", with("\"max_tokens\":1,\"max_tokens\":1000000"), 400},
      {"n of 0", with("\"n\":0"), 400},
      {"n of a million", with("\"n\":1000000"), 400},
      {"no messages", body_row("{\"model\":\"m\"}"), 400},
      {"messages that are text", body_row("{\"model\":\"m\",\"messages\":\"x\"}"), 400},
      {"messages of numbers", body_row("{\"model\":\"m\",\"messages\":[1]}"), 400},
      {"an empty list of messages", body_row("{\"model\":\"m\",\"messages\":[]}"), 400},
      {"stream_options that is a list", with("\"stream_options\":[]"), 400},
      {"include_usage that is text", with("\"stream_options\":{\"include_usage\":\"yes\"}"), 400},
      {"include_usage given twice",
       with("\"stream_options\":{\"include_usage\":true,\"include_usage\":false}"), 400},
  };
}

std::vector<HostileRow> wish_and_encoding_rows() {
  const std::string messages = R"("messages":[{"role":"user","content":"x"}])";
  const auto with = [&](std::string_view fields) {
    return body_row(fmt::format("{{\"model\":\"m\",{},{}}}", messages, fields));
  };
  return {
      {"another tenant's cache", with("\"sluice\":{\"cache_salt\":\"x\"}"), 400},
      {"tokens put into the answer", with("\"sluice\":{\"resume_ids\":[1]}"), 400},
      {"another prompt for the engine", with("\"sluice\":{\"prompt_ids\":[1]}"), 400},
      {"sluice given twice", with("\"sluice\":{},\"sluice\":{}"), 400},
      {"a policy nobody knows", with("\"sluice\":{\"policy\":\"anywhere\"}"), 400},
      {"a length among the trailers",
       head_row("Transfer-Encoding: chunked\r\n") + "0\r\nContent-Length: 5\r\n\r\n", 400},
      {"a byte order mark", body_row("\xef\xbb\xbf" + std::string(kBody)), 400},
      {"UTF-16", body_row(std::string("{\0\"\0", 4)), 400},
      {"an overlong encoding", with("\"a\":\"\xc0\xaf\""), 400},
      {"half a surrogate pair in the model", body_row("{\"model\":\"\\ud800\"," + messages + "}"),
       400},
      {"a line break in the model", body_row("{\"model\":\"m\\r\\nx: y\"," + messages + "}"), 404},
      {"single quotes", body_row("{'model':'m'}"), 400},
      {"a comment", with("/* x */ \"a\":1"), 400},
      {"a number of a thousand digits", with("\"max_tokens\":" + std::string(1000, '9')), 400},
      {"a role that is a number", body_row("{\"model\":\"m\",\"messages\":{\"role\":1}}"), 400},
      {"a deadline below 0", with("\"sluice\":{\"deadline_ms\":-5}"), 400},
      {"a deadline over all", with("\"sluice\":{\"deadline_ms\":1e30}"), 400},
      {"a target that is a list", with("\"sluice\":{\"target\":[]}"), 400},
      {"a data class nobody knows", with("\"sluice\":{\"data_class\":\"top\"}"), 400},
      {"a session of 20 KB", with("\"sluice\":{\"session\":\"" + std::string(20'000, 's') + "\"}"),
       400},
      {"a compressed body",
       fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
                   "{}\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
                   kSecret),
       415},
  };
}

TEST(EdgeHostile, EachIsAnsweredAndNothingIsSentOn) {
  std::atomic<int> sent_on = 0;
  net::ServerThread upstream([&](const net::Request&, net::Responder responder) {
    ++sent_on;
    responder.send(200, {}, kAnswer);
  });
  Edge edge(edge_snapshot({upstream.port()}));
  std::vector<HostileRow> all;
  for (const auto& rows : {smuggling_rows(), grammar_rows(), size_and_path_rows(), key_rows(),
                           body_rows(), wish_and_encoding_rows()})
    all.insert(all.end(), rows.begin(), rows.end());
  EXPECT_GE(all.size(), 60U);
  for (const HostileRow& row : all) {
    SCOPED_TRACE(row.what);
    net::RawClient client(edge.port());
    client.send(row.bytes);
    const std::string head = client.read_until("\r\n\r\n");
    EXPECT_TRUE(head.starts_with(fmt::format("HTTP/1.1 {} ", row.status))) << head;
    EXPECT_THAT(head, Not(HasSubstr("sk-test")));
    EXPECT_EQ(head.find("\r\nAllow: ") != std::string::npos, row.status == 405) << head;
    const std::string body = client.read_until("}}");
    EXPECT_THAT(body, HasSubstr("{\"error\":{\"message\":"));
    EXPECT_THAT(body, Not(HasSubstr("sk-test")));
  }
  EXPECT_EQ(sent_on, 0);
  EXPECT_EQ(edge.post(kBody).status, 200);  // and it still works
  edge.records().expect_balanced();
}

// Behind bytes whose end is in doubt nothing is taken for a request.
TEST(EdgeHostile, NothingIsReadBehindAnUnclearEnd) {
  std::atomic<int> sent_on = 0;
  net::ServerThread upstream([&](const net::Request&, net::Responder responder) {
    ++sent_on;
    responder.send(200, {}, kAnswer);
  });
  Edge edge(edge_snapshot({upstream.port()}));
  std::vector<HostileRow> all_rows = smuggling_rows();
  for (HostileRow& row : grammar_rows()) all_rows.push_back(std::move(row));
  for (const HostileRow& row : all_rows) {
    SCOPED_TRACE(row.what);
    if (row.status == 405) continue;  // well formed: the connection stays
    net::RawClient client(edge.port());
    client.send(row.bytes + post_text(kBody));
    const std::string all = client.read_to_end();
    EXPECT_THAT(all, Not(HasSubstr("HTTP/1.1 200")));
    EXPECT_THAT(all, Not(HasSubstr("timeout")));  // the connection ends
  }
  EXPECT_EQ(sent_on, 0);
}

TEST(EdgeHostile, WhoIsSlowIsToldSo) {
  net::ServerLimits limits;
  limits.header_timeout_ns = 50 * net::kMs;
  limits.body_timeout_ns = 50 * net::kMs;
  Edge edge(edge_snapshot({}), {}, limits);
  const std::string whole = post_text(kBody);
  for (const size_t sent : {size_t{10}, whole.size() - sizeof(kBody) - 3, whole.size() - 5}) {
    net::RawClient client(edge.port());
    client.send(whole.substr(0, sent));
    const std::string answer = client.read_to_end();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
    EXPECT_THAT(answer, HasSubstr("{\"error\":{\"message\":"));
  }
  EXPECT_EQ(edge.records().reservations(), 0U);
}

TEST(EdgeHostile, ABodyIsNotReadForWhoHasNoKey) {
  Edge edge(edge_snapshot({}));
  net::RawClient client(edge.port());
  client.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
      "Content-Length: 1000000\r\n\r\n");
  EXPECT_TRUE(client.read_until("\r\n").starts_with("HTTP/1.1 401"));
}

TEST(EdgeHostile, HeadersOfOneConnectionStayThere) {
  std::promise<std::string> seen;
  net::ServerThread upstream([&](const net::Request& request, net::Responder responder) {
    std::string names;
    for (const net::Header& header : request.headers) names.append(header.name).append("\n");
    seen.set_value(names);
    responder.send(200, {}, kAnswer);
  });
  Edge edge(edge_snapshot({upstream.port()}));
  net::RawClient client(edge.port());
  client.send(post_text(kBody,
                        "Connection: x-hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
                        "Upgrade: h2c\r\nCookie: a=b\r\nX-Kept: 1\r\n"));
  const std::string names = seen.get_future().get();
  for (const char* hidden : {"X-Hop", "Keep-Alive", "TE", "Upgrade", "Cookie"})
    EXPECT_THAT(names, Not(HasSubstr(std::string(hidden) + "\n")));
  EXPECT_THAT(names, HasSubstr("X-Kept\n"));
}

}  // namespace
}  // namespace sluice::gateway
