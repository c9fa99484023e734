// Those who wait for a change: long polls, and streams of server-sent events.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "gateway/admin/snapshot_keeper.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace sluice::gateway {

// A change record as JSON.
std::string change_json(const contract::ChangeRecord& change);

class Watchers {
 public:
  static constexpr size_t kWatchersMax = 256;
  static constexpr int64_t kPingIntervalNs = 15'000'000'000;

  Watchers(net::EventLoop& loop, SnapshotKeeper& keeper);

  // Calls `answer(true)` once ready() holds after a change, `answer(false)` after the time. False,
  // and no call, when too many wait already.
  struct Poll {
    net::Responder responder;  // a client that has gone is not answered
    std::function<bool()> ready;
    std::function<void(bool changed)> answer;
    int64_t timeout_ns = 0;
  };
  [[nodiscard]] bool wait(Poll poll);

  // Changes of a later generation than `after`, now and as they come, until the client goes.
  [[nodiscard]] bool stream(net::Responder responder, int64_t after);

 private:
  struct Waiting {
    Poll poll;
    std::unique_ptr<net::Timer> timer;
  };
  struct Stream {
    net::Responder responder;
    int64_t after = 0;
  };
  void on_change();
  void send_changes(Stream* stream);
  void ping();
  bool full() const { return waiting_.size() + streams_.size() >= kWatchersMax; }

  net::EventLoop& loop_;
  SnapshotKeeper& keeper_;
  std::list<Waiting> waiting_;
  std::list<Stream> streams_;
  net::Timer ping_timer_;
};

}  // namespace sluice::gateway
