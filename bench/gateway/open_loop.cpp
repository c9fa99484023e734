// A steady stream of chat completions, every body different, at a fixed rate whatever the answers
// take: what an answer took counts from the moment at which its request was due, so that a stall
// counts for every request that was due in it. For bench/gateway/added_delay.sh.
//
//   open_loop PORT REQUESTS_PER_S SECONDS [CONNECTIONS]      the API key is that of KEY
//
// Prints the rate that was reached and p50, p90, p99, p99.9 and the longest, in microseconds.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/clock.h"

namespace sluice {
namespace {

struct Load {
  uint16_t port = 0;
  int64_t requests_per_s = 0;
  int64_t seconds = 0;
  int64_t connections = 64;
};

struct Connection {
  int descriptor = -1;
  int64_t due_ns = 0;  // of the request in flight
  std::string input;
};

[[noreturn]] void fail(std::string_view what) {
  fmt::print(stderr, "open_loop: {}\n", what);
  std::exit(1);
}

int connect_to(uint16_t port) {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    fail(fmt::format("nobody listens on port {}", port));
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return descriptor;
}

// How many bytes the first answer of `input` has; 0: more are to come.
size_t answer_bytes(std::string_view input) {
  const size_t head = input.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  if (!input.starts_with("HTTP/1.1 200")) fail(input.substr(0, input.find('\r')));
  constexpr std::string_view kLength = "Content-Length: ";
  const size_t at = input.find(kLength);
  if (at > head) fail("an answer without a length");
  size_t body = 0;
  std::from_chars(input.data() + at + kLength.size(), input.data() + head, body);
  const size_t whole = head + 4 + body;
  return input.size() >= whole ? whole : 0;
}

class Generator {
 public:
  explicit Generator(const Load& load) : load_(load), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    const char* const key = std::getenv("KEY");
    head_ = fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        "{}\r\nContent-Type: application/json\r\nContent-Length: ",
        key != nullptr ? key : "sk-test");
    for (int i = 0; i < 16; ++i) pad_ += "All work and no play makes the model a dull model. ";
    connections_.resize(static_cast<size_t>(load.connections));
    for (Connection& connection : connections_) {
      connection.descriptor = connect_to(load.port);
      epoll_event event = {.events = EPOLLIN, .data = {.ptr = &connection}};
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.descriptor, &event);
      free_.push_back(&connection);
    }
  }

  // How long each answer took, in ns.
  std::vector<int64_t> run() {
    const int64_t count = load_.requests_per_s * load_.seconds;
    const int64_t begin_ns = clock_.now_ns();
    const auto due_ns = [&](int64_t i) {
      return begin_ns + i * 1'000'000'000 / load_.requests_per_s;
    };
    int64_t sent = 0;
    while (static_cast<int64_t>(took_ns_.size()) < count) {
      const int64_t now_ns = clock_.now_ns();
      for (; sent < count && due_ns(sent) <= now_ns && !free_.empty(); ++sent) send(due_ns(sent));
      const bool may_send = sent < count && !free_.empty();
      receive(may_send ? due_ns(sent) - now_ns : 1'000'000'000);
    }
    seconds_taken_ = static_cast<double>(clock_.now_ns() - begin_ns) * 1e-9;
    return std::move(took_ns_);
  }

  double seconds_taken() const { return seconds_taken_; }

 private:
  void send(int64_t due_ns) {
    Connection& connection = *free_.front();
    free_.pop_front();
    connection.due_ns = due_ns;
    const std::string body = fmt::format(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{} {}\"}}],"
        "\"max_tokens\":64,\"temperature\":0.7}}",
        ++bodies_, pad_);
    const std::string request = fmt::format("{}{}\r\n\r\n{}", head_, body.size(), body);
    if (::send(connection.descriptor, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size()))
      fail("a request was not taken");
  }

  void receive(int64_t wait_ns) {
    epoll_event events[64];
    const timespec wait = {.tv_sec = wait_ns / 1'000'000'000, .tv_nsec = wait_ns % 1'000'000'000};
    const int ready = ::epoll_pwait2(epoll_, events, 64, &wait, nullptr);
    for (int i = 0; i < ready; ++i) take(static_cast<Connection*>(events[i].data.ptr));
  }

  void take(Connection* connection) {
    char bytes[8192];
    const ssize_t got = ::recv(connection->descriptor, bytes, sizeof bytes, 0);
    if (got <= 0) fail("a connection was closed");
    connection->input.append(bytes, static_cast<size_t>(got));
    const size_t whole = answer_bytes(connection->input);
    if (whole == 0) return;
    connection->input.erase(0, whole);
    took_ns_.push_back(clock_.now_ns() - connection->due_ns);
    free_.push_back(connection);
  }

  const Load load_;
  const int epoll_;
  core::SystemClock clock_;
  std::string head_;
  std::string pad_;
  std::vector<Connection> connections_;
  std::deque<Connection*> free_;
  std::vector<int64_t> took_ns_;
  int64_t bodies_ = 0;
  double seconds_taken_ = 0.0;
};

int run(const Load& load) {
  Generator generator(load);
  std::vector<int64_t> took_ns = generator.run();
  std::sort(took_ns.begin(), took_ns.end());
  const auto at = [&](double share) {
    return static_cast<double>(
               took_ns[static_cast<size_t>(share * static_cast<double>(took_ns.size() - 1))]) *
           1e-3;
  };
  fmt::print("{:.0f} req/s  p50 {:.0f}  p90 {:.0f}  p99 {:.0f}  p99.9 {:.0f}  max {:.0f} us\n",
             static_cast<double>(took_ns.size()) / generator.seconds_taken(), at(0.5), at(0.9),
             at(0.99), at(0.999), at(1.0));
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int count, char** arguments) {
  if (count < 4) {
    fmt::print(stderr, "open_loop PORT REQUESTS_PER_S SECONDS [CONNECTIONS]\n");
    return 2;
  }
  sluice::Load load = {.port = static_cast<uint16_t>(std::atoi(arguments[1])),
                       .requests_per_s = std::atoll(arguments[2]),
                       .seconds = std::atoll(arguments[3])};
  if (count > 4) load.connections = std::atoll(arguments[4]);
  return sluice::run(load);
}
