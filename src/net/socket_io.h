// Non-blocking reads and writes of a connected socket, without a queue in between.
#pragma once

#include <poll.h>

#include <cerrno>
#include <span>
#include <string_view>

#include <sys/socket.h>
#include <sys/uio.h>

#include "net/byte_buffer.h"
#include "net/watched_socket.h"

namespace sluice::net {

enum class IoStatus { kOk, kWouldBlock, kClosed };
struct IoResult {
  IoStatus status = IoStatus::kOk;
  size_t bytes = 0;
};

// Appends what the socket has, at most the buffer's free space. kClosed: end of stream or an error.
inline IoResult receive(int descriptor, ByteBuffer* buffer) {
  ssize_t got;
  do got = ::recv(descriptor, buffer->data() + buffer->size(), buffer->free(), 0);
  while (got < 0 && errno == EINTR);
  if (got > 0) {
    buffer->commit(static_cast<size_t>(got));
    return {IoStatus::kOk, static_cast<size_t>(got)};
  }
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {IoStatus::kWouldBlock, 0};
  return {IoStatus::kClosed, 0};
}

// The peer sends no more: it has gone, whatever of its bytes is still unread.
inline bool has_hung_up(int descriptor) {
  pollfd asked = {.fd = descriptor, .events = POLLRDHUP, .revents = 0};
  return ::poll(&asked, 1, 0) > 0;
}

// The peer has neither sent anything nor gone.
inline bool has_no_news(int descriptor) {
  char byte;
  const ssize_t got = ::recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

inline constexpr size_t kPiecesMax = 8;

// Sends as much of the pieces, in order, as the socket takes.
inline IoResult send_pieces(int descriptor, std::span<const std::string_view> pieces) {
  ASSERT(pieces.size() <= kPiecesMax, "{} pieces, at most {}", pieces.size(), kPiecesMax);
  iovec vectors[kPiecesMax];
  msghdr message = {};
  message.msg_iov = vectors;
  for (std::string_view piece : pieces)
    if (!piece.empty())
      vectors[message.msg_iovlen++] = {const_cast<char*>(piece.data()), piece.size()};
  if (message.msg_iovlen == 0) return {};
  ssize_t sent;
  do sent = ::sendmsg(descriptor, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return {IoStatus::kOk, static_cast<size_t>(sent)};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoStatus::kWouldBlock, 0};
  return {IoStatus::kClosed, 0};
}

// Small messages wait for the end of the turn (WatchedSocket::hold_output); what is large costs
// more to keep than to send.
inline bool hold_back(std::span<const std::string_view> pieces, WatchedSocket* socket) {
  constexpr size_t kBytesMax = 16 << 10;
  size_t bytes = 0;
  for (std::string_view piece : pieces) bytes += piece.size();
  return bytes <= kBytesMax && socket->hold_output();
}

}  // namespace sluice::net
