// asio behind EventLoop, for the .cpp files of this folder only.
#pragma once

#include <atomic>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "net/event_loop.h"
#include "net/watched_socket.h"

namespace sluice::net {

namespace asio = boost::asio;

struct EventLoop::Impl {
  asio::io_context context{1};  // one thread runs it, any thread posts
  SocketPoller poller{context};
  asio::signal_set signals{context};
  UniqueFunction<void(int)> on_signal;
  std::atomic<std::thread::id> runner{};  // nobody: a default id

  void wait_for_signal();
};

}  // namespace sluice::net
