// A turn of the poller: who is called, in which order, and who no more.
#include "net/watched_socket.h"

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace sluice::net {
namespace {

class Listener final : public SocketUser {
 public:
  Listener(SocketPoller& poller, std::string name, std::vector<std::string>* calls,
           Urgency urgency = Urgency::kUsual)
      : socket(poller, *this, -1, urgency), name_(std::move(name)), calls_(calls) {
    int both[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    socket.open(both[0]);
    peer = both[1];
  }
  ~Listener() override { ::close(peer); }

  void become_readable() {
    socket.wait_readable();
    EXPECT_EQ(::write(peer, "x", 1), 1);
  }
  void on_socket_readable() override {
    calls_->push_back(name_ + " readable");
    if (when_readable) when_readable();
  }
  void on_socket_writable() override {
    calls_->push_back(name_ + " writable");
    if (when_writable) when_writable();
  }

  WatchedSocket socket;
  int peer = -1;
  std::function<void()> when_readable;
  std::function<void()> when_writable;

 private:
  const std::string name_;
  std::vector<std::string>* const calls_;
};

class WatchedSocketTest : public testing::Test {
 protected:
  SocketPoller poller_;
  std::vector<std::string> calls_;
};

using Calls = std::vector<std::string>;

TEST_F(WatchedSocketTest, HeldOutputIsSentOnceAtTheEndOfTheTurn) {
  Listener a(poller_, "a", &calls_);
  Listener b(poller_, "b", &calls_);
  Listener upstream(poller_, "upstream", &calls_);
  for (Listener* each : {&a, &b}) {
    each->when_readable = [&] { EXPECT_TRUE(upstream.socket.hold_output()); };
    each->become_readable();
  }
  poller_.dispatch(0);
  EXPECT_EQ(calls_, (Calls{"a readable", "b readable", "upstream writable"}));
  EXPECT_FALSE(upstream.socket.holds_output());
  calls_.clear();
  a.socket.wait_readable();
  a.when_readable = {};
  poller_.dispatch(0);
  EXPECT_EQ(calls_, Calls{"a readable"});
}

TEST_F(WatchedSocketTest, NothingIsHeldOutsideOfATurn) {
  Listener a(poller_, "a", &calls_);
  EXPECT_FALSE(a.socket.hold_output());
  EXPECT_FALSE(a.socket.holds_output());
}

TEST_F(WatchedSocketTest, AClosedSocketIsNotCalledForWhatItHeld) {
  Listener a(poller_, "a", &calls_);
  Listener b(poller_, "b", &calls_);
  Listener c(poller_, "c", &calls_);
  a.when_readable = [&] {
    EXPECT_TRUE(b.socket.hold_output());
    EXPECT_TRUE(c.socket.hold_output());
  };
  b.when_writable = [&] { c.socket.close(); };
  a.become_readable();
  poller_.dispatch(0);
  EXPECT_EQ(calls_, (Calls{"a readable", "b writable"}));
  EXPECT_FALSE(c.socket.holds_output());
}

TEST_F(WatchedSocketTest, WhoHoldsOutputBackWhileOthersSendHasItsTurnToo) {
  Listener a(poller_, "a", &calls_);
  Listener b(poller_, "b", &calls_);
  a.when_readable = [&] { EXPECT_TRUE(a.socket.hold_output()); };
  a.when_writable = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return;
    EXPECT_TRUE(b.socket.hold_output());
    EXPECT_TRUE(a.socket.hold_output());
  };
  a.become_readable();
  poller_.dispatch(0);
  EXPECT_EQ(calls_, (Calls{"a readable", "a writable", "b writable", "a writable"}));
}

TEST_F(WatchedSocketTest, WhileMoreAreReadyThanATurnTakesAnswersComeFirst) {
  constexpr size_t kClients = 300;
  std::vector<std::unique_ptr<Listener>> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Listener>(poller_, "client", &calls_));
    clients.back()->become_readable();
  }
  Listener answer(poller_, "answer", &calls_, Urgency::kAnswer);
  poller_.dispatch(0);
  const size_t first_turn = calls_.size();
  ASSERT_LT(first_turn, kClients);
  answer.become_readable();
  poller_.dispatch(0);
  EXPECT_EQ(calls_[first_turn], "answer readable");
  for (int turn = 0; turn < 10; ++turn) poller_.dispatch(0);
  EXPECT_EQ(calls_.size(), kClients + 1) << "each once";
}

TEST_F(WatchedSocketTest, AnAnswerMayCloseAClientThatIsReady) {
  constexpr size_t kClients = 300;
  std::vector<std::unique_ptr<Listener>> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Listener>(poller_, "client", &calls_));
    clients.back()->become_readable();
  }
  poller_.dispatch(0);
  const size_t first_turn = calls_.size();
  Listener answer(poller_, "answer", &calls_, Urgency::kAnswer);
  answer.when_readable = [&] { clients.clear(); };
  answer.become_readable();
  for (int turn = 0; turn < 10; ++turn) poller_.dispatch(0);
  EXPECT_EQ(calls_.size(), first_turn + 1);
}

TEST_F(WatchedSocketTest, AReadWatchAnswersEachWaitOnce) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  int calls = 0;
  ReadWatch watch(poller_, ends[0], [&] { ++calls; });
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  poller_.dispatch(0);
  EXPECT_EQ(calls, 0);
  for (int asked = 1; asked <= 2; ++asked) {
    watch.wait();
    for (int turn = 0; turn < 3; ++turn) poller_.dispatch(0);
    EXPECT_EQ(calls, asked);  // what is there to read is still there
  }
  ::close(ends[1]);
}

}  // namespace
}  // namespace sluice::net
