// TLS of the server and the client, against each other and against peers that misbehave.
#include <atomic>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "core/rng.h"
#include "net/blocking_client.h"
#include "peers.h"
#include "tests/net/certificates.h"

namespace sluice::net {
namespace {

using testing::HasSubstr;

void echo(const Request& request, Responder responder) {
  responder.send({.status = 200,
                  .headers = {},
                  .body = fmt::format("{} {}", request.path, request.body.size())});
}

struct TlsFixture : testing::Test {
  Authority authority;
  Authority::Files files = authority.issue("server");
  std::shared_ptr<TlsServer> identity = load(files);
  std::shared_ptr<const TlsClient> trust = TlsClient::load(authority.file()).value();

  static std::shared_ptr<TlsServer> load(const Authority::Files& files) {
    auto loaded = TlsServer::load({.certificate_file = files.certificate, .key_file = files.key});
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    return std::move(loaded).value();
  }
  BlockingClient client(uint16_t port, const std::string& host = "localhost") {
    return BlockingClient({.host = host, .port = port}, {}, trust);
  }
};

std::string body_of(BlockingClient& client, const ClientRequest& request) {
  const auto response = client.request(request);
  return response.ok() ? response->body : "error: " + response.error().message;
}

TEST_F(TlsFixture, RequestsAndAnswersOverOneConnection) {
  ServerThread server(echo, {}, plain_refusal, {}, identity);
  BlockingClient client = this->client(server.port());
  const std::string large(3 << 20, 'x');
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(body_of(client, {.target = "/a"}), "/a 0");
    EXPECT_EQ(body_of(client, {.method = Method::kPost, .target = "/b", .body = large}),
              "/b 3145728");
  }
  EXPECT_EQ(server.stats().accepted, 1) << "kept, tickets of TLS 1.3 or not";
  BlockingClient by_address = this->client(server.port(), "127.0.0.1");
  EXPECT_EQ(body_of(by_address, {.target = "/c"}), "/c 0");
}

TEST_F(TlsFixture, LargeAnswersToASlowReader) {
  const std::string large(5 << 20, 'y');
  ServerThread server(
      [&](const Request&, Responder responder) {
        responder.start_stream(200, {});
        for (size_t at = 0; at < large.size(); at += 100'000)
          responder.write(std::string_view(large).substr(at, 100'000));
        responder.finish();
      },
      {}, plain_refusal, {}, identity);
  BlockingClient client = this->client(server.port());
  size_t read = 0;
  const auto response =
      client.request({.target = "/"}, [&](const Response&, std::string_view bytes) {
        EXPECT_EQ(bytes.find_first_not_of('y'), std::string_view::npos);
        read += bytes.size();
      });
  ASSERT_TRUE(response.ok()) << response.error().message;
  EXPECT_EQ(read, large.size());
}

// What the client must not believe.
TEST_F(TlsFixture, WrongPeersAreRefusedBeforeARequestIsSent) {
  const Authority stranger;
  struct Row {
    const char* what;
    Authority::Files files;
    const char* host;
    const char* reason;
  };
  const Row rows[] = {
      {"another host", authority.issue("other", {.names = "DNS:example.com"}), "localhost",
       "mismatch"},
      {"another address", authority.issue("address", {.names = "IP:127.0.0.2"}), "127.0.0.1",
       "mismatch"},
      {"a name is no address", authority.issue("name", {.names = "DNS:127.0.0.1"}), "127.0.0.1",
       "mismatch"},
      {"part of a name", authority.issue("part", {.names = "DNS:local*"}), "localhost", "mismatch"},
      {"expired", authority.issue("old", {.valid_from_s = -7200, .valid_to_s = -3600}), "localhost",
       "expired"},
      {"not yet valid", authority.issue("new", {.valid_from_s = 3600, .valid_to_s = 7200}),
       "localhost", "not yet valid"},
      {"unknown authority", stranger.issue("stranger"), "localhost", "issuer certificate"},
  };
  for (const Row& row : rows) {
    std::atomic<int> requests = 0;
    ServerThread server([&](const Request&, Responder) { ++requests; }, {}, plain_refusal, {},
                        load(row.files));
    BlockingClient client = this->client(server.port(), row.host);
    const auto response =
        client.request({.method = Method::kPost, .target = "/", .body = "secret"});
    ASSERT_FALSE(response.ok()) << row.what;
    EXPECT_THAT(response.error().message, HasSubstr(row.reason)) << row.what;
    EXPECT_EQ(requests, 0) << row.what;
  }
}

TEST_F(TlsFixture, NewConnectionsShowTheCertificateThatWasReadLast) {
  ServerThread server(echo, {}, plain_refusal, {}, identity);
  BlockingClient before = client(server.port());
  EXPECT_EQ(body_of(before, {.target = "/"}), "/ 0");

  std::ofstream(files.key) << "no key";
  EXPECT_FALSE(identity->reload().ok());
  BlockingClient meanwhile = client(server.port());
  EXPECT_EQ(body_of(meanwhile, {.target = "/"}), "/ 0") << "it stays as it was";

  authority.issue("server", {.names = "DNS:example.com"});
  ASSERT_TRUE(identity->reload().ok());
  EXPECT_EQ(body_of(before, {.target = "/"}), "/ 0") << "open connections go on";
  BlockingClient after = client(server.port());
  EXPECT_THAT(body_of(after, {.target = "/"}), HasSubstr("mismatch"));
}

TEST_F(TlsFixture, FilesThatDoNotServe) {
  const Authority::Files other = authority.issue("other");
  const auto fails = [](const std::string& certificate, const std::string& key) {
    return !TlsServer::load({.certificate_file = certificate, .key_file = key}).ok();
  };
  EXPECT_TRUE(fails(files.certificate, other.key)) << "the key of another certificate";
  EXPECT_TRUE(fails(files.key, files.key));
  EXPECT_TRUE(fails(files.certificate, "/nowhere"));
  EXPECT_FALSE(TlsClient::load(files.key).ok()) << "no certificate in it";
}

// Bytes that are no TLS, and none at all.
TEST_F(TlsFixture, HostileFirstBytesEndTheConnection) {
  ServerLimits limits;
  limits.header_timeout_ns = 300 * kMs;
  ServerThread server(echo, limits, plain_refusal, {}, identity);
  std::string random;
  core::Rng rng(20261122);
  for (int i = 0; i < 5000; ++i) random += static_cast<char>(rng.below(256));
  const std::string record("\x16\x03\x01\xff\xff", 5);
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), random, record + std::string(70000, '\0'),
        std::string(100, '\x16'), std::string("\x16\x03\x01"), std::string()}) {
    RawClient client(server.port());
    client.send(bytes);
    const std::string answer = client.read_to_end();
    EXPECT_EQ(answer.find("HTTP/1.1 200"), std::string::npos);
    EXPECT_EQ(answer.find("…timeout"), std::string::npos) << bytes.size() << " bytes";
  }
  EXPECT_GE(server.stats().handshakes_failed, 4);
  EXPECT_EQ(server.stats().requests, 0);
  BlockingClient client = this->client(server.port());
  EXPECT_EQ(body_of(client, {.target = "/"}), "/ 0");
}

// A handshake of one byte at a time does not move the time limit.
TEST_F(TlsFixture, ATricklingHandshakeEndsInTime) {
  ServerLimits limits;
  limits.header_timeout_ns = 200 * kMs;
  ServerThread server(echo, limits, plain_refusal, {}, identity);
  RawClient client(server.port());
  const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  for (const char byte : hello) client.send({&byte, 1});
  EXPECT_EQ(client.read_to_end(), "");
}

// Between client and server: passes bytes until the server's have reached `bytes`, then closes.
class Scissors {
 public:
  Scissors(uint16_t to, size_t bytes) : to_(to), bytes_(bytes) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(listener_, 1);
    thread_ = std::thread([this] { pass(); });
  }
  ~Scissors() {
    thread_.join();
    ::close(listener_);
  }
  uint16_t port() const { return port_; }

 private:
  void pass() {
    const int client = ::accept(listener_, nullptr, nullptr);
    const int server = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(to_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    size_t passed = 0;
    while (passed < bytes_) {
      pollfd waiting[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (::poll(waiting, 2, kPatienceMs) <= 0) break;
      char bytes[4096];
      if (waiting[0].revents != 0) {
        const ssize_t got = ::recv(client, bytes, sizeof(bytes), 0);
        if (got <= 0) break;
        ::send(server, bytes, static_cast<size_t>(got), MSG_NOSIGNAL);
      }
      if (waiting[1].revents != 0) {
        const ssize_t got = ::recv(server, bytes, std::min(sizeof(bytes), bytes_ - passed), 0);
        if (got <= 0) break;
        passed += static_cast<size_t>(got);
        ::send(client, bytes, static_cast<size_t>(got), MSG_NOSIGNAL);
      }
    }
    ::close(client);
    ::close(server);
  }
  const uint16_t to_;
  const size_t bytes_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

// Wherever somebody cuts it, an answer that ends with its connection is not taken for whole.
TEST_F(TlsFixture, ACutStreamIsNoWholeAnswer) {
  const std::string text(20'000, 'z');
  ServerThread server(
      [&](const Request&, Responder responder) {
        responder.start_stream(200, {});
        responder.write(text);
        responder.finish();
      },
      {}, plain_refusal, {}, identity);
  int complete = 0;
  for (const size_t bytes :
       {size_t{0}, size_t{10}, size_t{900}, size_t{3000}, size_t{15'000}, size_t{1'000'000}}) {
    Scissors between(server.port(), bytes);
    BlockingClient client = this->client(between.port());
    const auto response = client.request({.target = "/"});
    if (!response.ok()) continue;
    ++complete;
    EXPECT_EQ(response->body, text) << bytes;
  }
  EXPECT_EQ(complete, 1);
}

// An answer without a length is whole only when TLS said that it ends.
TEST_F(TlsFixture, TheEndOfTheConnectionAloneEndsNothing) {
  for (const bool says_so : {true, false}) {
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str());
    SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    socklen_t size = sizeof(address);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    ::listen(listener, 1);
    std::thread peer([&] {
      const int socket = ::accept(listener, nullptr, nullptr);
      SSL* ssl = SSL_new(context);
      SSL_set_fd(ssl, socket);
      char bytes[4096];
      if (SSL_accept(ssl) == 1 && SSL_read(ssl, bytes, sizeof(bytes)) > 0) {
        constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart";
        SSL_write(ssl, kAnswer.data(), static_cast<int>(kAnswer.size()));
        if (says_so) SSL_shutdown(ssl);
      }
      ::shutdown(socket, SHUT_WR);
      ::recv(socket, bytes, sizeof(bytes), 0);
      SSL_free(ssl);
      ::close(socket);
    });
    BlockingClient client = this->client(ntohs(address.sin_port));
    const auto response = client.request({.target = "/"});
    EXPECT_EQ(response.ok(), says_so);
    if (says_so) {
      EXPECT_EQ(response->body, "part");
    }
    peer.join();
    ::close(listener);
    SSL_CTX_free(context);
  }
}

// A client of OpenSSL's own, for what ours never does.
struct ForeignClient {
  ForeignClient(uint16_t port, int version_max) : context(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, version_max);
    SSL_CTX_set_security_level(context, 0);
    socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ssl = SSL_new(context);
    SSL_set_fd(ssl, socket);
  }
  ~ForeignClient() {
    SSL_free(ssl);
    SSL_CTX_free(context);
    ::close(socket);
  }
  std::string exchange(std::string_view request) {
    if (SSL_write(ssl, request.data(), static_cast<int>(request.size())) <= 0) return "";
    std::string answer;
    char bytes[4096];
    for (int got; (got = SSL_read(ssl, bytes, sizeof(bytes))) > 0;)
      answer.append(bytes, static_cast<size_t>(got));
    return answer;
  }
  SSL_CTX* context;
  SSL* ssl;
  int socket;
};

constexpr std::string_view kLastRequest = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

TEST_F(TlsFixture, Versions) {
  ServerThread server(echo, {}, plain_refusal, {}, identity);
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    ForeignClient client(server.port(), version);
    EXPECT_LE(SSL_connect(client.ssl), 0) << version;
  }
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    ForeignClient client(server.port(), version);
    ASSERT_EQ(SSL_connect(client.ssl), 1) << version;
    EXPECT_THAT(client.exchange(kLastRequest), HasSubstr("/x 0"));
    EXPECT_EQ(SSL_get_shutdown(client.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN)
        << "the end is said";
  }
}

TEST_F(TlsFixture, NothingIsNegotiatedAgain) {
  ServerThread server(echo, {}, plain_refusal, {}, identity);
  ForeignClient client(server.port(), TLS1_2_VERSION);
  ASSERT_EQ(SSL_connect(client.ssl), 1);
  SSL_renegotiate(client.ssl);
  EXPECT_LE(SSL_do_handshake(client.ssl), 0);
}

TEST_F(TlsFixture, AHalfClosedClientStillGetsWhatItAskedFor) {
  ServerThread server(echo, {}, plain_refusal, {}, identity);
  ForeignClient client(server.port(), TLS1_3_VERSION);
  ASSERT_EQ(SSL_connect(client.ssl), 1);
  constexpr std::string_view kTwo =
      "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
  SSL_write(client.ssl, kTwo.data(), static_cast<int>(kTwo.size()));
  SSL_shutdown(client.ssl);
  std::string answer;
  char bytes[4096];
  for (int got; (got = SSL_read(client.ssl, bytes, sizeof(bytes))) > 0;)
    answer.append(bytes, static_cast<size_t>(got));
  EXPECT_THAT(answer, HasSubstr("/1 0"));
  EXPECT_THAT(answer, HasSubstr("/2 0"));
}

TEST_F(TlsFixture, ClientsWithoutTlsAreNotAnswered) {
  ServerThread plain(echo);
  BlockingClient client = this->client(plain.port());
  EXPECT_FALSE(client.request({.target = "/"}).ok());
  EXPECT_EQ(plain.stats().requests, 0);
}

TEST(TlsUrl, SchemesAndPorts) {
  EXPECT_EQ(parse_url("https://a.example/v1")->scheme, Scheme::kHttps);
  EXPECT_EQ(parse_url("https://a.example/v1")->endpoint.port, 443);
  EXPECT_EQ(parse_url("https://a.example:8443")->endpoint.port, 8443);
  EXPECT_EQ(parse_url("http://a.example")->scheme, Scheme::kHttp);
  EXPECT_FALSE(parse_url("ftp://a.example").ok());
}

}  // namespace
}  // namespace sluice::net
