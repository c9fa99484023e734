// A server on a thread of its own, and a client that sends exactly the bytes it is told to.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "core/assert.h"
#include "net/http_server.h"

namespace sluice::net {

inline constexpr int64_t kMs = 1'000'000;
inline constexpr int kPatienceMs = 5000;  // a test that waits longer has failed
inline constexpr int kPileUpMs = 200;     // a socket that takes nothing for so long is full

class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.run(); }) {}
  ~LoopThread() {
    loop_.stop();
    thread_.join();
  }
  EventLoop& loop() { return loop_; }

  // Runs `call` on the loop's thread and returns what it returns.
  template <typename Call>
  auto run(Call call) {
    std::promise<decltype(call())> promise;
    auto future = promise.get_future();
    loop_.post([&] {
      if constexpr (std::is_void_v<decltype(call())>) {
        call();
        promise.set_value();
      } else {
        promise.set_value(call());
      }
    });
    return future.get();
  }

 private:
  EventLoop loop_;
  std::thread thread_;
};

class ServerThread {
 public:
  explicit ServerThread(Handler handler, ServerLimits limits = {},
                        RefusalFunction refusal = plain_refusal, HeadCheck check_head = {},
                        std::shared_ptr<const TlsServer> tls = nullptr) {
    thread_.run([&] {
      server_ = std::make_unique<HttpServer>(ServerOptions{.loop = thread_.loop(),
                                                           .limits = limits,
                                                           .handler = std::move(handler),
                                                           .check_head = std::move(check_head),
                                                           .refusal = std::move(refusal),
                                                           .tls = std::move(tls)});
      port_ = server_->listen("127.0.0.1", 0).value();
    });
  }
  ~ServerThread() { destroy(); }
  void destroy() {
    thread_.run([&] { server_.reset(); });
  }
  uint16_t port() const { return port_; }
  EventLoop& loop() { return thread_.loop(); }
  HttpServer& server() { return *server_; }  // inside run() only
  template <typename Call>
  auto run(Call call) {
    return thread_.run(std::move(call));
  }
  ServerStats stats() {
    return run([&] { return server_->stats(); });
  }

 private:
  LoopThread thread_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer_bytes = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (receive_buffer_bytes > 0)
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                   sizeof(receive_buffer_bytes));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int connected =
        ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    ASSERT(connected == 0, "connect gives {}", connected);
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // Sends copies of `bytes` until the peer lets them pile up or `most` went; returns how many
  // bytes.
  size_t flood(std::string_view bytes, size_t most) {
    size_t sent = 0;
    pollfd waiting = {.fd = socket_, .events = POLLOUT, .revents = 0};
    while (sent<most&& ::poll(&waiting, 1, kPileUpMs)> 0) {
      const ssize_t taken =
          ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (taken > 0) sent += static_cast<size_t>(taken);
    }
    return sent;
  }
  void shutdown_send() { ::shutdown(socket_, SHUT_WR); }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  // With a reset instead of an orderly end.
  void reset() {
    const linger abrupt = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt));
    close();
  }

  // Everything up to and with `end`, or all there was when the peer closed or patience ended.
  std::string read_until(std::string_view end) {
    for (;;) {
      const size_t found = read_.find(end);
      if (found != std::string::npos) return take(found + end.size());
      if (!read_more()) return take(read_.size());
    }
  }
  std::string read_bytes(size_t bytes) {
    while (read_.size() < bytes && read_more()) {
    }
    return take(std::min(bytes, read_.size()));
  }
  // Everything until the peer closes; "…timeout" when it does not.
  std::string read_to_end() {
    while (read_more()) {
    }
    return take(read_.size()) + (timed_out_ ? "…timeout" : "");
  }

  // The connection ended with a reset, which may take an answer back that was on its way.
  bool reset_by_peer() const { return reset_by_peer_; }

 private:
  bool read_more() {
    pollfd waiting = {.fd = socket_, .events = POLLIN, .revents = 0};
    timed_out_ = ::poll(&waiting, 1, kPatienceMs) == 0;
    if (timed_out_) return false;
    char bytes[65536];
    const ssize_t got = ::recv(socket_, bytes, sizeof(bytes), 0);
    reset_by_peer_ = got < 0 && errno == ECONNRESET;
    if (got <= 0) return false;
    read_.append(bytes, static_cast<size_t>(got));
    return true;
  }
  std::string take(size_t bytes) {
    std::string taken = read_.substr(0, bytes);
    read_.erase(0, bytes);
    return taken;
  }

  int socket_;
  std::string read_;
  bool timed_out_ = false;
  bool reset_by_peer_ = false;
};

// A message without the one line that differs from run to run.
inline std::string without_date(std::string text) {
  for (size_t begin; (begin = text.find("Date: ")) != std::string::npos;)
    text.erase(begin, text.find("\r\n", begin) + 2 - begin);
  return text;
}

}  // namespace sluice::net
