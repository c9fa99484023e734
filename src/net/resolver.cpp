#include "net/resolver.h"

#include <netdb.h>

#include <cstring>
#include <memory>
#include <utility>

namespace sluice::net {
namespace {

Resolver::Addresses look_up(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  addrinfo* first = nullptr;
  const int fault = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &first);
  if (fault != 0) return core::Error{core::ErrorCode::kIo, ::gai_strerror(fault)};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(first, &::freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* one = first; one != nullptr; one = one->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    address.bytes = one->ai_addrlen;
  }
  return addresses;
}

}  // namespace

Resolver::~Resolver() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Resolver::resolve(std::string host, uint16_t port, Done done) {
  {
    const std::lock_guard lock(mutex_);
    questions_.push_back({std::move(host), port, std::move(done)});
  }
  changed_.notify_one();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void Resolver::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ending_ || !questions_.empty(); });
    if (ending_) return;
    Question question = std::move(questions_.front());
    questions_.pop_front();
    lock.unlock();
    question.done(look_up(question.host, question.port));
  }
}

}  // namespace sluice::net
