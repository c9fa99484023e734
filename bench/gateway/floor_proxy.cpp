// The least that a proxy can do: a byte that comes on one connection goes out on its partner's, in
// one thread, with one epoll_wait, recv and send a message and nothing looked at. What it adds to
// the delay of an answer is what the machine takes for a second hop; what `sluice gateway` adds
// beyond it is its own (bench/gateway/added_delay.sh).
//
//   floor_proxy PORT BACKEND_PORT [spin]
//
// With `spin` it looks again and again instead of sleeping, and takes its core for itself.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace {

constexpr int kListenBacklog = 4096;

struct Half {
  int descriptor = -1;
  Half* partner = nullptr;
};

sockaddr_in loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void require(bool done, const char* what) {
  if (done) return;
  fmt::print(stderr, "floor_proxy: {}\n", what);
  std::exit(1);
}

int open_acceptor(int port) {
  const int acceptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(acceptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  require(::bind(acceptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
              ::listen(acceptor, kListenBacklog) == 0,
          "the port is in use");
  return acceptor;
}

void watch(int epoll, Half* half) {
  const int on = 1;
  ::setsockopt(half->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = half}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, half->descriptor, &event);
}

void join_to_backend(int epoll, int client, int backend_port) {
  const int backend = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(backend_port);
  require(::connect(backend, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
          "nobody listens at the backend's port");
  auto* const pair = new Half[2]{{client}, {backend}};  // until the end of the program
  pair[0].partner = &pair[1];
  pair[1].partner = &pair[0];
  watch(epoll, &pair[0]);
  watch(epoll, &pair[1]);
}

// Messages are small: the partner's buffer in the kernel takes all of one.
void forward(const Half& from) {
  static char bytes[64 << 10];
  const ssize_t got = ::recv(from.descriptor, bytes, sizeof bytes, 0);
  if (got > 0 &&
      ::send(from.partner->descriptor, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) == got)
    return;
  ::shutdown(from.partner->descriptor, SHUT_RDWR);
  ::close(from.descriptor);
}

}  // namespace

int main(int count, char** arguments) {
  require(count == 3 || (count == 4 && std::string_view(arguments[3]) == "spin"),
          "usage: floor_proxy PORT BACKEND_PORT [spin]");
  const int sleep_ms = count == 4 ? 0 : -1;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  Half acceptor = {.descriptor = open_acceptor(std::atoi(arguments[1]))};
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = &acceptor}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, acceptor.descriptor, &event);
  for (;;) {
    epoll_event events[256];
    const int ready = ::epoll_wait(epoll, events, 256, sleep_ms);
    for (int i = 0; i < ready; ++i) {
      const auto* half = static_cast<Half*>(events[i].data.ptr);
      if (half == &acceptor)
        join_to_backend(epoll, ::accept4(acceptor.descriptor, nullptr, nullptr, SOCK_CLOEXEC),
                        std::atoi(arguments[2]));
      else
        forward(*half);
    }
  }
}
