// Inside the HTTP server: the server, its connections and the answers in progress.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "net/byte_buffer.h"
#include "net/event_loop_impl.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/message_writer.h"
#include "net/socket_address.h"
#include "net/socket_io.h"
#include "net/tls_stream.h"

namespace sluice::net {

class ServerConnection;

// One request and its answer. Owned by the Responders; the connection looks.
struct Exchange {
  enum class State { kWaiting, kStreaming, kDone };
  explicit Exchange(EventLoop& owner) : loop(owner) {}
  ~Exchange();  // an answer that nobody will give any more becomes 500 or a cut stream

  EventLoop& loop;
  ServerConnection* connection = nullptr;  // null once the answer is complete or the client gone
  State state = State::kWaiting;
  Task on_close;
  Task on_drained;
};

// One client. Requests are taken one at a time: the next is parsed when the answer is complete, so
// that answers keep their order. An idle connection holds no buffer but the small one of what it
// wrote last: bytes are read into one of the server's and move into the connection's own only when
// a message is incomplete.
class ServerConnection final : public std::enable_shared_from_this<ServerConnection>,
                               private SocketUser {
 public:
  // descriptor: of a connected, non-blocking socket. `tls`: null for a plain connection.
  ServerConnection(ServerCore& server, int descriptor, std::string remote_address,
                   std::unique_ptr<TlsStream> tls);

  void start();
  // Answers 503 and goes, without reading a request.
  void refuse();
  // Now, from the loop only; on_close of the answer in progress runs inside.
  void close();
  // As soon as the loop comes round: for calls of the user.
  void close_soon();
  // Nothing was asked that is not answered, and no byte waits.
  bool at_rest() const { return state_ == State::kReading && !parser_.begun() && output_.empty(); }
  bool has_output() const { return !output_.empty(); }
  void check_deadline(int64_t now_ns);
  void stop_keeping_alive() { keep_alive_ = false; }

  // For Responder.
  void send(int status, std::span<const Header> headers, std::string_view body);
  void send(const Response& response);
  void start_stream(int status, std::span<const Header> headers);
  void write(std::string_view bytes);
  void finish();
  void send_error(int status, std::string_view message);
  void abandon();  // the stream will not be finished
  bool open() const { return state_ != State::kClosed && !closing_soon_; }
  int64_t buffered_bytes() const { return static_cast<int64_t>(output_.size()); }

  size_t index = 0;      // in the server's list
  bool refused = false;  // not counted among the connections

 private:
  enum class State : uint8_t {
    kReading,    // between requests or inside one
    kAnswering,  // a request was handed over
    kLingering,  // the last answer is being sent; what comes in is dropped
    kClosed,
  };
  // What the deadline of the reading side is about.
  enum class Phase : uint8_t { kFirstByte, kIdle, kHeader, kBody, kAnswer, kLinger };

  void shake_hands();
  IoResult receive(ByteBuffer* buffer);
  IoResult send_pieces(std::span<const std::string_view> pieces);
  void wait_readable();
  void wait_writable();
  void on_socket_readable() override;
  void on_socket_writable() override;
  void on_end_of_input();
  bool backed_up() const;                         // further requests wait for the reader
  bool far_ahead(const ByteBuffer& input) const;  // reading waits for the answers
  ByteBuffer& choose_input();
  // Parses and dispatches until more bytes are needed or an answer is awaited.
  void process(ByteBuffer& input);
  void dispatch(ByteBuffer& input);
  void keep_rest(ByteBuffer& input);
  void process_kept();
  void reject(const ParseError& error);
  void refuse_with(const Response& response);  // the last answer of the connection
  // The head may not have a body: refused.
  bool refuse_head(const ByteBuffer& input);
  void count_request_bytes();
  bool over_budget() const;
  void begin_answer(int status, BodyFraming framing, size_t body_bytes);
  void end_answer();
  void linger();
  void enter(Phase phase);
  int64_t phase_timeout_ns() const;
  bool reads_too_slowly(int64_t now_ns) const;  // while there is output

  // Sends the pieces after everything before them, or keeps what the socket does not take.
  void put(std::span<const std::string_view> pieces);
  void flush_corked();
  void send_now(std::span<const std::string_view> pieces);
  void wait_for_reader();

  ServerCore& server_;
  WatchedSocket socket_;
  const std::unique_ptr<TlsStream> tls_;  // null: plain
  const std::string remote_address_;
  RequestParser parser_;
  ByteBuffer input_;
  ByteBuffer output_;  // what the socket did not take, or what is held back until the turn's end
  Exchange* exchange_ = nullptr;
  int64_t handed_over_bytes_ = 0;  // of the request whose answer has not begun
  int64_t counted_bytes_ = 0;      // in the server's request_bytes
  int64_t phase_begin_ns_ = 0;
  int64_t output_begin_ns_ = 0;     // what waits began to wait, without a pause since
  int64_t output_since_ns_ = 0;     // the reader took something of it, or it began; 0: no wait yet
  int64_t output_taken_bytes_ = 0;  // since it began
  State state_ = State::kReading;
  Phase phase_ = Phase::kFirstByte;
  Method method_ = Method::kGet;  // of the request in progress
  Version version_ = Version::kHttp11;
  BodyFraming framing_ = BodyFraming::kLength;
  bool keep_alive_ = true;
  bool continue_sent_ = false;
  bool head_checked_ = false;
  bool processing_ = false;  // answers are collected in the server's buffer
  bool closing_soon_ = false;
  bool half_closed_ = false;
  bool shaking_hands_ = false;
  bool reading_soon_ = false;  // what TLS holds already
};

struct ServerCore : std::enable_shared_from_this<ServerCore> {
  explicit ServerCore(ServerOptions options);

  core::Result<uint16_t> listen(std::string_view host, uint16_t port);
  void accept_waiting(size_t acceptor);
  // Takes the descriptor.
  void admit(int descriptor, const SocketAddress& remote);
  void forget(ServerConnection& connection);
  void close_all();
  void stop_accepting();
  bool idle() const;
  void check_idle();  // after an answer ended
  void tick();

  EventLoop& loop;
  const ServerLimits limits;
  const MessageLimits message_limits;
  const Handler handler;
  const HeadCheck check_head;
  const RefusalFunction refusal;
  const std::shared_ptr<const TlsServer> tls;
  const PortUse port_use;
  ServerStats stats;
  std::vector<std::unique_ptr<ReadWatch>> acceptors;
  std::vector<std::shared_ptr<ServerConnection>> connections;  // refused ones too
  bool draining = false;
  Task on_idle;
  Timer tick_timer;  // runs while there are connections: deadlines and the date
  Timer accept_retry_timer;
  std::string date;

  // Shared by all connections, empty between two events of the loop.
  ByteBuffer input;
  ByteBuffer corked;
  std::string head;
  std::vector<Header> headers;
};

}  // namespace sluice::net
