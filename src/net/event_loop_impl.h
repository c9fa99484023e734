// asio behind EventLoop, for the .cpp files of this folder only.
#pragma once

#include <atomic>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>

#include "net/event_loop.h"
#include "net/watched_socket.h"

namespace sluice::net {

namespace asio = boost::asio;

struct EventLoop::Impl {
  Impl();
  void wait_for_sockets();

  SocketPoller poller;
  asio::io_context context{1};                            // one thread runs it, any thread posts
  asio::posix::stream_descriptor sockets_ready{context};  // a copy of the poller's descriptor
  asio::signal_set signals{context};
  UniqueFunction<void(int)> on_signal;
  std::atomic<std::thread::id> runner{};  // nobody: a default id

  void wait_for_signal();
};

}  // namespace sluice::net
