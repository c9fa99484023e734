#include <algorithm>
#include <charconv>
#include <utility>

#include "net/http_server_impl.h"

namespace sluice::net {
namespace {

constexpr size_t kReadBytes = 64 << 10;       // one read of the shared buffer
constexpr size_t kCorkedBytesMax = 64 << 10;  // answers of one event that are sent together
constexpr int kReadsPerEvent = 16;            // then the other connections have their turn
constexpr size_t kReserveBytesMax = 1 << 20;  // on a sender's word; more when it really sends

// What the budget for requests is about: not the small ones.
int64_t beyond_free(size_t bytes) {
  return std::max<int64_t>(0, static_cast<int64_t>(bytes) - ServerLimits::kRequestBytesFree);
}

// How long so many bytes take at that rate.
int64_t at_rate(int64_t bytes, int64_t bytes_per_s) {
  return bytes / bytes_per_s * 1'000'000'000 + bytes % bytes_per_s * 1'000'000'000 / bytes_per_s;
}

// The length that GET would have: a proxy has only the other server's word for it.
size_t length_for_head(std::span<const Header> headers, std::string_view body) {
  if (!body.empty()) return body.size();
  const std::string_view said = find_header(headers, "content-length").value_or("");
  size_t length = 0;
  const auto [end, error] = std::from_chars(said.data(), said.data() + said.size(), length);
  return error == std::errc() && end == said.data() + said.size() ? length : 0;
}

}  // namespace

ServerConnection::ServerConnection(ServerCore& server, int descriptor, std::string remote_address,
                                   std::unique_ptr<TlsStream> tls)
    : server_(server),
      socket_(server.loop.impl().poller, *this, descriptor, Urgency::kUsual),
      tls_(std::move(tls)),
      remote_address_(std::move(remote_address)),
      parser_(&server.message_limits) {}

void ServerConnection::start() {
  phase_begin_ns_ = server_.loop.now_ns();
  tls_ ? shake_hands() : wait_readable();
}

// Goes on until TLS is agreed on; the time limit is that of the first request's headers.
void ServerConnection::shake_hands() {
  const TlsStream::Handshake state = tls_->handshake();
  shaking_hands_ = state != TlsStream::Handshake::kDone;
  if (!shaking_hands_) return wait_readable();
  if (state == TlsStream::Handshake::kFailed) {
    ++server_.stats.handshakes_failed;
    return close();
  }
  state == TlsStream::Handshake::kWantsRead ? socket_.wait_readable() : socket_.wait_writable();
}

IoResult ServerConnection::receive(ByteBuffer* buffer) {
  return tls_ ? tls_->receive(buffer) : net::receive(socket_.native_handle(), buffer);
}

IoResult ServerConnection::send_pieces(std::span<const std::string_view> pieces) {
  return tls_ ? tls_->send(pieces) : net::send_pieces(socket_.native_handle(), pieces);
}

void ServerConnection::refuse() {
  phase_begin_ns_ = server_.loop.now_ns();
  reject({503, "too many connections, try again"});
  if (state_ != State::kClosed) wait_readable();
}

void ServerConnection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  const std::shared_ptr<ServerConnection> self = shared_from_this();
  if (tls_ && exchange_ == nullptr && output_.empty()) tls_->end();
  socket_.close();
  input_.release();
  output_.release();
  handed_over_bytes_ = 0;
  count_request_bytes();
  server_.forget(*this);
  Task on_close;  // may drop the last Responder
  if (exchange_ != nullptr) {
    Exchange& exchange = *std::exchange(exchange_, nullptr);
    exchange.connection = nullptr;
    --server_.stats.running;
    ++server_.stats.cut;
    on_close = std::move(exchange.on_close);
  }
  server_.check_idle();
  if (on_close) on_close();
}

void ServerConnection::close_soon() {
  if (std::exchange(closing_soon_, true)) return;
  server_.loop.post([self = shared_from_this()] { self->close(); });
}

void ServerConnection::wait_readable() {
  if (!open() || reading_soon_) return;
  if (tls_ == nullptr || !tls_->has_pending()) return socket_.wait_readable();
  reading_soon_ = true;  // the socket will not say so
  server_.loop.post([self = shared_from_this()] {
    self->reading_soon_ = false;
    self->on_socket_readable();
  });
}

void ServerConnection::wait_writable() {
  if (open()) socket_.wait_writable();
}

// The shared buffer while nothing is kept, else the connection's own with room for what is missing.
ByteBuffer& ServerConnection::choose_input() {
  if (input_.empty()) {
    server_.input.reserve(kReadBytes);
    return server_.input;
  }
  const size_t whole = parser_.message_bytes();
  const size_t missing = whole > input_.size() ? whole - input_.size() : 0;
  input_.reserve(std::clamp(missing, kReadBytes / 4, kReserveBytesMax));
  return input_;
}

void ServerConnection::on_socket_readable() {
  if (!open()) return;
  const std::shared_ptr<ServerConnection> self = shared_from_this();
  if (shaking_hands_) return shake_hands();
  ByteBuffer& input = choose_input();
  for (int reads = 0; reads < kReadsPerEvent; ++reads) {
    if (&input == &input_) choose_input();
    const size_t room = input.free();
    const IoResult got = receive(&input);
    if (got.status == IoStatus::kWouldBlock) break;
    if (got.status == IoStatus::kClosed) {
      if (&input != &input_) input.consume(input.size());
      return on_end_of_input();
    }
    if (state_ == State::kLingering)
      input.consume(input.size());
    else
      process(input);
    if (!open() || got.bytes < room) break;
    if (far_ahead(input) || input.free() == 0) break;
  }
  keep_rest(input);
}

// The client sends no more. Without an answer to wait for it may still read what is on its way.
void ServerConnection::on_end_of_input() {
  if (state_ == State::kAnswering || output_.empty()) return close();
  state_ = State::kLingering;
}

bool ServerConnection::backed_up() const {
  return buffered_bytes() > server_.limits.send_buffer_bytes_max;
}

bool ServerConnection::far_ahead(const ByteBuffer& input) const {
  const bool waits = state_ == State::kAnswering || (state_ == State::kReading && backed_up());
  return waits && static_cast<int64_t>(input.size()) >= server_.limits.pipelined_bytes_max;
}

// What is left of `input` waits in the connection's own buffer; reading goes on unless the client
// is too far ahead of its answers.
void ServerConnection::keep_rest(ByteBuffer& input) {
  if (&input != &input_) {
    input_.append(input.view());
    input.consume(input.size());
  }
  count_request_bytes();
  if (state_ == State::kReading && over_budget()) {
    reject({503, "too many large requests at once, try again"});
    input_.consume(input_.size());
    count_request_bytes();
  }
  if (input_.empty()) input_.release();
  if (!far_ahead(input_)) wait_readable();
}

void ServerConnection::process(ByteBuffer& input) {
  processing_ = true;
  while (state_ == State::kReading && open() && !input.empty() && !backed_up()) {
    const RequestParser::Status status = parser_.parse(input);
    if (status == RequestParser::Status::kComplete) {
      dispatch(input);
      continue;
    }
    if (status == RequestParser::Status::kFailed) {
      reject(parser_.error());
      break;
    }
    enter(parser_.head_complete() ? Phase::kBody : Phase::kHeader);
    if (refuse_head(input)) break;
    if (parser_.waits_for_continue() && parser_.body_bytes() == 0 && !continue_sent_) {
      continue_sent_ = true;
      const std::string_view pieces[] = {"HTTP/1.1 100 Continue\r\n\r\n"};
      put(pieces);
    }
    break;
  }
  processing_ = false;
  if (state_ == State::kLingering) input.consume(input.size());
  flush_corked();
}

void ServerConnection::dispatch(ByteBuffer& input) {
  Request request = parser_.request(input, &server_.headers);
  request.remote_address = remote_address_;
  method_ = request.method;
  version_ = request.version;
  keep_alive_ = request.keep_alive && !server_.draining;
  auto exchange = std::make_shared<Exchange>(server_.loop);
  exchange->connection = this;
  exchange_ = exchange.get();
  state_ = State::kAnswering;
  phase_ = Phase::kAnswer;
  handed_over_bytes_ = beyond_free(request.body.size());
  count_request_bytes();
  ++server_.stats.requests;
  ++server_.stats.running;
  server_.handler(request, Responder(std::move(exchange)));
  parser_.next_message(input);
}

void ServerConnection::count_request_bytes() {
  const int64_t bytes = beyond_free(input_.size()) + handed_over_bytes_;
  server_.stats.request_bytes += bytes - std::exchange(counted_bytes_, bytes);
}

bool ServerConnection::over_budget() const {
  return counted_bytes_ > 0 && server_.stats.request_bytes > server_.limits.request_bytes_max;
}

bool ServerConnection::refuse_head(const ByteBuffer& input) {
  if (!parser_.head_complete() || !server_.check_head || std::exchange(head_checked_, true))
    return false;
  Request head = parser_.request(input, &server_.headers);
  head.remote_address = remote_address_;
  const std::optional<Response> refusal = server_.check_head(head);
  if (refusal) refuse_with(*refusal);
  return refusal.has_value();
}

void ServerConnection::reject(const ParseError& error) {
  Response response = server_.refusal(error.status, error.message);
  if (error.status == 503)
    response.headers.push_back({"Retry-After", std::to_string(server_.limits.retry_after_s)});
  refuse_with(response);
}

void ServerConnection::refuse_with(const Response& response) {
  keep_alive_ = false;
  framing_ = BodyFraming::kLength;
  begin_answer(response.status, framing_, response.body.size());
  for (const OwnedHeader& header : response.headers)
    append_header(header.name, header.value, &server_.head);
  server_.head.append("\r\n");
  const std::string_view pieces[] = {server_.head, response.body};
  ++server_.stats.rejected;
  put(pieces);
  linger();
}

void ServerConnection::begin_answer(int status, BodyFraming framing, size_t body_bytes) {
  const std::string_view connection = !keep_alive_                   ? "close"
                                      : version_ == Version::kHttp10 ? "keep-alive"
                                                                     : "";
  handed_over_bytes_ = 0;
  count_request_bytes();
  server_.head.clear();
  append_response_start({.status = status,
                         .date = server_.date,
                         .framing = framing,
                         .body_bytes = body_bytes,
                         .connection = connection},
                        &server_.head);
}

void ServerConnection::send(int status, std::span<const Header> headers, std::string_view body) {
  const bool may_have_body = status != 204 && status != 304;
  begin_answer(status, may_have_body ? BodyFraming::kLength : BodyFraming::kNone,
               method_ == Method::kHead ? length_for_head(headers, body) : body.size());
  for (const Header& header : headers)
    if (!is_framing_header(header.name)) append_header(header.name, header.value, &server_.head);
  server_.head.append("\r\n");
  const bool with_body = may_have_body && method_ != Method::kHead;
  const std::string_view pieces[] = {server_.head, with_body ? body : ""};
  put(pieces);
  end_answer();
}

void ServerConnection::send(const Response& response) {
  std::array<Header, 16> few;
  std::vector<Header> many;
  std::span<Header> headers = few;
  if (response.headers.size() > few.size()) {
    many.resize(response.headers.size());
    headers = many;
  }
  size_t count = 0;
  for (const OwnedHeader& header : response.headers)
    headers[count++] = {.name = header.name, .value = header.value};
  send(response.status, headers.first(count), response.body);
}

void ServerConnection::start_stream(int status, std::span<const Header> headers) {
  const bool has_body = method_ != Method::kHead && status != 204 && status != 304;
  framing_ = !has_body                      ? BodyFraming::kNone
             : version_ == Version::kHttp11 ? BodyFraming::kChunked
                                            : BodyFraming::kUntilClose;
  if (framing_ == BodyFraming::kUntilClose) keep_alive_ = false;
  begin_answer(status, framing_, 0);
  for (const Header& header : headers)
    if (!is_framing_header(header.name)) append_header(header.name, header.value, &server_.head);
  server_.head.append("\r\n");
  const std::string_view pieces[] = {server_.head};
  put(pieces);
}

void ServerConnection::write(std::string_view bytes) {
  if (bytes.empty() || framing_ == BodyFraming::kNone) return;
  if (framing_ == BodyFraming::kChunked) {
    ChunkSizeLine line;
    const std::string_view pieces[] = {chunk_size_line(bytes.size(), &line), bytes, "\r\n"};
    put(pieces);
  } else {
    put({&bytes, 1});
  }
  if (buffered_bytes() > server_.limits.send_buffer_bytes_max) close_soon();
}

void ServerConnection::finish() {
  if (framing_ == BodyFraming::kChunked) {
    const std::string_view last[] = {"0\r\n\r\n"};
    put(last);
  }
  end_answer();
}

void ServerConnection::send_error(int status, std::string_view message) {
  ++server_.stats.rejected;
  send(server_.refusal(status, message));
}

void ServerConnection::abandon() {
  exchange_ = nullptr;
  --server_.stats.running;
  ++server_.stats.cut;
  close_soon();
  server_.check_idle();
}

void ServerConnection::end_answer() {
  Exchange& exchange = *std::exchange(exchange_, nullptr);
  exchange.connection = nullptr;
  --server_.stats.running;
  if (!open()) {
    server_.check_idle();
    return;
  }
  continue_sent_ = head_checked_ = false;
  if (!keep_alive_) {
    linger();
  } else {
    state_ = State::kReading;
    enter(Phase::kIdle);
    if (!processing_ && !input_.empty())
      server_.loop.post([self = shared_from_this()] { self->process_kept(); });
  }
  server_.check_idle();
}

// Goes on with what came while an answer was awaited.
void ServerConnection::process_kept() {
  if (!open() || state_ != State::kReading || input_.empty()) return;
  process(input_);
  if (open()) keep_rest(input_);
}

// Sends what is left, then tells the client that nothing follows, and reads until it goes too: a
// socket closed with unread bytes would take the answer back.
void ServerConnection::linger() {
  state_ = State::kLingering;
  enter(Phase::kLinger);
  if (processing_ || !output_.empty() || half_closed_) return;
  half_closed_ = true;
  phase_begin_ns_ = server_.loop.now_ns();
  if (tls_) tls_->end();
  socket_.shutdown_send();
  wait_readable();
}

void ServerConnection::enter(Phase phase) {
  if (phase_ == phase) return;
  phase_ = phase;
  phase_begin_ns_ = server_.loop.now_ns();
}

void ServerConnection::put(std::span<const std::string_view> pieces) {
  if (!open()) return;
  if (!processing_) return send_now(pieces);
  size_t total = server_.corked.size();
  for (std::string_view piece : pieces) total += piece.size();
  if (total <= kCorkedBytesMax) {
    for (std::string_view piece : pieces) server_.corked.append(piece);
    return;
  }
  std::array<std::string_view, kPiecesMax> all;
  all[0] = server_.corked.view();
  std::copy(pieces.begin(), pieces.end(), all.begin() + 1);
  send_now(std::span(all).first(pieces.size() + 1));
  server_.corked.consume(server_.corked.size());
}

void ServerConnection::flush_corked() {
  ByteBuffer& corked = server_.corked;
  if (!corked.empty() && state_ != State::kClosed) {
    const std::string_view pieces[] = {corked.view()};
    send_now(pieces);
  }
  corked.consume(corked.size());
  if (state_ == State::kLingering && open()) linger();
}

void ServerConnection::send_now(std::span<const std::string_view> pieces) {
  size_t sent = 0;
  if (output_.empty()) output_since_ns_ = 0;
  if (output_.empty() && !hold_back(pieces, &socket_)) {
    const IoResult result = send_pieces(pieces);
    if (result.status == IoStatus::kClosed) return close_soon();
    sent = result.bytes;
  }
  size_t total = 0;
  for (std::string_view piece : pieces) total += piece.size();
  output_.reserve(total - sent);
  for (std::string_view piece : pieces) {
    const size_t skip = std::min(sent, piece.size());
    output_.append(piece.substr(skip));
    sent -= skip;
  }
  if (!output_.empty() && !socket_.holds_output()) wait_for_reader();
}

void ServerConnection::wait_for_reader() {
  if (output_since_ns_ == 0) {
    output_begin_ns_ = output_since_ns_ = server_.loop.now_ns();
    output_taken_bytes_ = 0;
  }
  wait_writable();
}

// Also where it closes soon: what was held back until now is what the client is still to get.
void ServerConnection::on_socket_writable() {
  if (state_ == State::kClosed) return;
  const std::shared_ptr<ServerConnection> self = shared_from_this();
  if (shaking_hands_) return shake_hands();
  const std::string_view pieces[] = {output_.view()};
  const IoResult result = send_pieces(pieces);
  if (result.status == IoStatus::kClosed) return close();
  if (result.bytes > 0 && output_since_ns_ != 0) output_since_ns_ = server_.loop.now_ns();
  output_taken_bytes_ += static_cast<int64_t>(result.bytes);
  output_.consume(result.bytes);
  if (!output_.empty()) return wait_for_reader();
  output_.release_if_large();
  if (state_ == State::kLingering) linger();
  server_.check_idle();
  if (exchange_ == nullptr) return process_kept();
  if (!exchange_->on_drained) return;
  Task on_drained = std::move(exchange_->on_drained);
  on_drained();
}

int64_t ServerConnection::phase_timeout_ns() const {
  const ServerLimits& limits = server_.limits;
  switch (phase_) {
    case Phase::kFirstByte:
    case Phase::kHeader:
      return limits.header_timeout_ns;
    case Phase::kIdle:
      return limits.idle_timeout_ns;
    case Phase::kBody:
      return limits.body_timeout_ns + at_rate(parser_.body_bytes(), limits.body_bytes_per_s_min);
    case Phase::kLinger:
      return limits.linger_timeout_ns;
    case Phase::kAnswer:
      break;
  }
  return INT64_MAX;
}

bool ServerConnection::reads_too_slowly(int64_t now_ns) const {
  const ServerLimits& limits = server_.limits;
  if (now_ns - output_since_ns_ > limits.write_stall_timeout_ns) return true;
  return now_ns - output_begin_ns_ >
         limits.write_stall_timeout_ns +
             at_rate(output_taken_bytes_, limits.answer_bytes_per_s_min);
}

void ServerConnection::check_deadline(int64_t now_ns) {
  if (!open()) return;
  if (!output_.empty() && reads_too_slowly(now_ns)) return close();
  // While reading waits, nobody else would tell.
  if (state_ == State::kAnswering && !socket_.waits_readable() &&
      has_hung_up(socket_.native_handle()))
    return close();
  if (!output_.empty()) return;
  if (now_ns - phase_begin_ns_ <= phase_timeout_ns()) return;
  if (phase_ == Phase::kHeader || phase_ == Phase::kBody)
    reject({408, phase_ == Phase::kHeader ? "the request's headers took too long"
                                          : "the request's body took too long"});
  else if (phase_ != Phase::kAnswer)
    close();
}

}  // namespace sluice::net
