// Looks names up on a thread of its own, which the first name starts: the system's look-up blocks.
// For the .cpp files of this folder only.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/result.h"
#include "net/socket_address.h"
#include "net/task.h"

namespace sluice::net {

class Resolver {
 public:
  // In the order in which they are to be tried; an Error says why there is none.
  using Addresses = core::Result<std::vector<SocketAddress>>;
  // Called on the resolver's thread.
  using Done = UniqueFunction<void(Addresses)>;

  Resolver() = default;
  ~Resolver();  // waits for the look-up in progress; the others get no answer
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void resolve(std::string host, uint16_t port, Done done);

 private:
  struct Question {
    std::string host;
    uint16_t port = 0;
    Done done;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Question> questions_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace sluice::net
