// Inside the HTTP client: its connections.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/byte_buffer.h"
#include "net/event_loop_impl.h"
#include "net/http_client.h"
#include "net/socket_address.h"
#include "net/socket_io.h"
#include "net/tls_stream.h"

namespace sluice::net {

// One connection, with one call at a time.
class ClientConnection final : public std::enable_shared_from_this<ClientConnection>,
                               private SocketUser {
 public:
  explicit ClientConnection(ClientCore& core);

  // Looks the name up where it is one, connects to the first of its addresses that answers, sends
  // what begin() was given meanwhile.
  void open();
  // head, body: the request's bytes.
  void begin(Method method, std::string_view head, std::string_view body,
             std::shared_ptr<ResponseSink> sink);
  // Without a call to the sink.
  void close();
  void fail(CallEnd end, std::string_view what);
  void fail_soon(CallEnd end, std::string what);
  void pause() { paused_ = true; }
  void resume();
  void check_deadline(int64_t now_ns);
  uint64_t serial() const { return serial_; }
  bool idle() const { return phase_ == Phase::kIdle; }
  // An idle connection whose end the loop has not seen yet is none.
  bool still_usable() const;

  size_t index = 0;  // in the client's list

 private:
  enum class Phase : uint8_t { kConnecting, kWaiting, kReceiving, kIdle, kClosed };

  void connect_next();
  void on_connected();
  void shake_hands();
  void ready();
  IoResult receive(ByteBuffer* buffer);
  IoResult send_pieces(std::span<const std::string_view> pieces);
  void wait_readable();
  void wait_writable();
  void on_socket_readable() override;
  void on_socket_writable() override;
  void on_end_of_input();
  // Hands on what `input` holds; false when the call has ended.
  bool deliver(ByteBuffer& input);
  bool deliver_head(ByteBuffer& input);
  void complete();
  void enter(Phase phase);

  ClientCore& core_;
  WatchedSocket socket_;
  std::vector<SocketAddress> addresses_;  // to be tried, the next one last
  std::unique_ptr<TlsStream> tls_;        // null: plain, or not connected yet
  ResponseParser parser_;
  ByteBuffer input_;   // the part of a head or chunk that is incomplete, or what came while paused
  ByteBuffer output_;  // what the socket did not take, or what is held back until the turn's end
  std::shared_ptr<ResponseSink> sink_;
  uint64_t serial_ = 0;  // of the call
  int64_t phase_begin_ns_ = 0;
  Phase phase_ = Phase::kConnecting;
  bool reusable_ = false;
  bool paused_ = false;
  bool reading_soon_ = false;  // what TLS holds already
};

struct ClientCore {
  ClientCore(EventLoop& owner, Endpoint to, ClientLimits given,
             std::shared_ptr<const TlsClient> believes);

  void forget(ClientConnection& connection);
  // The last used idle connection that still stands; null where there is none.
  std::shared_ptr<ClientConnection> take_idle();
  void tick();
  std::string where() const;  // "host:port"

  EventLoop& loop;
  const Endpoint endpoint;
  const std::string host_header;
  const ClientLimits limits;
  const std::shared_ptr<const TlsClient> tls;
  const MessageLimits message_limits;
  ClientStats stats;
  std::vector<std::shared_ptr<ClientConnection>> connections;
  std::vector<std::shared_ptr<ClientConnection>> idle;  // the last used is used next
  Timer tick_timer;                                     // runs while there are connections

  // Shared by all connections, empty between two events of the loop.
  ByteBuffer input;
  std::string head;
};

}  // namespace sluice::net
