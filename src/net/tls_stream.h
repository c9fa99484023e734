// Inside server and client: the TLS of one connection over its non-blocking socket. A plain
// connection has none of this: net/socket_io.h does its reads and writes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/socket_io.h"

struct ssl_st;
struct ssl_ctx_st;

namespace sluice::net {

// One SSL_CTX: what the connections of a server or client have in common.
struct TlsStreamSource {
  explicit TlsStreamSource(ssl_ctx_st* made) : context(made) {}
  ~TlsStreamSource();
  TlsStreamSource(const TlsStreamSource&) = delete;
  TlsStreamSource& operator=(const TlsStreamSource&) = delete;
  ssl_ctx_st* const context;
};

class TlsStream {
 public:
  // The socket outlives the stream. A server's side; a client's that wants to reach `host`.
  static std::unique_ptr<TlsStream> accept(const TlsStreamSource& source, int descriptor);
  static std::unique_ptr<TlsStream> connect(const TlsStreamSource& source, int descriptor,
                                            const std::string& host);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  enum class Handshake : uint8_t { kDone, kWantsRead, kWantsWrite, kFailed };
  // Goes on as far as the socket allows. Until kDone nothing else may be called but failure().
  Handshake handshake();
  // Why the handshake failed, for people: "certificate has expired".
  std::string failure() const;

  // As receive() and send_pieces() of net/socket_io.h. receive() fills the buffer as far as there
  // are bytes. What a send did not take comes again, first, in the next one.
  IoResult receive(ByteBuffer* buffer);
  IoResult send(std::span<const std::string_view> pieces);

  // receive() has something to say at once: the socket will not tell.
  bool has_pending() const;
  // The peer has neither sent anything nor gone.
  bool has_no_news();
  // The peer said that nothing follows. Without that an end may be somebody's cut.
  bool ended_cleanly() const;
  // Tells the peer that nothing follows, as far as the socket takes it.
  void end();

 private:
  explicit TlsStream(ssl_st* ssl) : ssl_(ssl) {}

  ssl_st* const ssl_;
  bool over_ = false;  // nothing more can be read
  std::string failure_;
  ByteBuffer record_;  // pieces of one send, joined to make one record
};

}  // namespace sluice::net
