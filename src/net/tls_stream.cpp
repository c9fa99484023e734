#include "net/tls_stream.h"

#include <algorithm>
#include <climits>
#include <utility>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace sluice::net {
namespace {

constexpr size_t kRecordBytesMax = 16 << 10;

// OpenSSL's own socket BIO writes with a signal where the peer has gone.

int descriptor_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

bool may_come_later(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

int bio_read(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t got;
  do got = ::recv(descriptor_of(bio), bytes, static_cast<size_t>(size), 0);
  while (got < 0 && errno == EINTR);
  if (may_come_later(got)) BIO_set_retry_read(bio);
  if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(got);
}

int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t sent;
  do sent = ::send(descriptor_of(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (may_come_later(sent)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  return 0;
}

// Made once, never freed: connections of every loop share it.
const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    ASSERT(method != nullptr, "BIO_meth_new");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
  }();
  return kMethod;
}

SSL* make_ssl(const TlsStreamSource& source, int descriptor) {
  SSL* ssl = SSL_new(source.context);
  BIO* bio = BIO_new(socket_method());
  ASSERT(ssl != nullptr && bio != nullptr, "no TLS connection could be made");
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return ssl;
}

bool is_address(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

TlsStream::~TlsStream() {
  SSL_free(ssl_);
}

std::unique_ptr<TlsStream> TlsStream::accept(const TlsStreamSource& source, int descriptor) {
  SSL* ssl = make_ssl(source, descriptor);
  SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsStream>(new TlsStream(ssl));
}

std::unique_ptr<TlsStream> TlsStream::connect(const TlsStreamSource& source, int descriptor,
                                              const std::string& host) {
  SSL* ssl = make_ssl(source, descriptor);
  SSL_set_connect_state(ssl);
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool numeric = is_address(host);
  const int expected = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str())
                               : SSL_set1_host(ssl, host.c_str());
  ASSERT(expected == 1, "host '{}' cannot be verified", host);
  if (!numeric) SSL_set_tlsext_host_name(ssl, host.c_str());
  return std::unique_ptr<TlsStream>(new TlsStream(ssl));
}

TlsStream::Handshake TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return Handshake::kDone;
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ) return Handshake::kWantsRead;
  if (error == SSL_ERROR_WANT_WRITE) return Handshake::kWantsWrite;
  const long verified = SSL_get_verify_result(ssl_);
  const char* reason = verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                                             : ERR_reason_error_string(ERR_peek_last_error());
  failure_ = reason == nullptr ? "the connection was closed" : reason;
  ERR_clear_error();
  return Handshake::kFailed;
}

std::string TlsStream::failure() const {
  return fmt::format("TLS handshake failed: {}", failure_);
}

IoResult TlsStream::receive(ByteBuffer* buffer) {
  size_t total = 0;
  while (buffer->free() > 0) {
    ERR_clear_error();
    size_t got = 0;
    const int result = SSL_read_ex(ssl_, buffer->data() + buffer->size(), buffer->free(), &got);
    if (result == 1) {
      buffer->commit(got);
      total += got;
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    ERR_clear_error();
    over_ = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
    if (total > 0) break;  // an end shows again in the next call
    return {over_ ? IoStatus::kClosed : IoStatus::kWouldBlock, 0};
  }
  return {IoStatus::kOk, total};
}

IoResult TlsStream::send(std::span<const std::string_view> pieces) {
  size_t total = 0;
  for (const std::string_view piece : pieces) total += piece.size();
  size_t sent = 0;
  size_t piece = 0;
  size_t skip = 0;  // of the piece
  while (sent < total) {
    record_.consume(record_.size());
    record_.reserve(std::min(total - sent, kRecordBytesMax));
    // Records are made of as many pieces as fit.
    size_t at = piece;
    size_t from = skip;
    while (at < pieces.size() && record_.size() < kRecordBytesMax) {
      const std::string_view rest = pieces[at].substr(from);
      const std::string_view part = rest.substr(0, kRecordBytesMax - record_.size());
      record_.append(part);
      if (part.size() < rest.size()) break;
      ++at;
      from = 0;
    }
    ERR_clear_error();
    size_t taken = 0;
    const int result = SSL_write_ex(ssl_, record_.data(), record_.size(), &taken);
    if (result != 1) {
      const int error = SSL_get_error(ssl_, result);
      ERR_clear_error();
      record_.release();
      const bool waits = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
      if (!waits) return {IoStatus::kClosed, sent};
      return {sent > 0 ? IoStatus::kOk : IoStatus::kWouldBlock, sent};
    }
    sent += taken;
    while (taken > 0) {
      const size_t step = std::min(taken, pieces[piece].size() - skip);
      taken -= step;
      skip += step;
      while (piece < pieces.size() && skip == pieces[piece].size()) {
        ++piece;
        skip = 0;
      }
    }
  }
  record_.release();
  return {IoStatus::kOk, sent};
}

bool TlsStream::has_pending() const {
  return over_ || SSL_pending(ssl_) > 0;
}

bool TlsStream::has_no_news() {
  ERR_clear_error();
  char byte;
  size_t got = 0;
  const int result = SSL_peek_ex(ssl_, &byte, 1, &got);
  const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
  ERR_clear_error();
  return error == SSL_ERROR_WANT_READ;
}

bool TlsStream::ended_cleanly() const {
  return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
}

void TlsStream::end() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace sluice::net
