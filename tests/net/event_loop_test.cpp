#include "net/event_loop.h"

#include <csignal>
#include <functional>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

TEST(EventLoop, RunsPostedTasksInOrder) {
  EventLoop loop;
  std::vector<int> order;
  loop.post([&] {
    order.push_back(1);
    loop.post([&] {
      order.push_back(3);
      loop.stop();
    });
    order.push_back(2);
  });
  loop.run();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(EventLoop, TakesTasksThatOwn) {
  EventLoop loop;
  auto owned = std::make_unique<int>(7);
  int seen = 0;
  loop.post([&, owned = std::move(owned)] { seen = *owned; });
  loop.stop();
  loop.run();
  EXPECT_EQ(seen, 7);
}

TEST(EventLoop, TakesTasksOfManyThreads) {
  EventLoop loop;
  constexpr int kThreads = 4;
  constexpr int kTasks = 1000;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kTasks; ++i)
        loop.post([&] {
          EXPECT_TRUE(loop.owned_by_caller());
          if (++count == kThreads * kTasks) loop.stop();
        });
    });
  loop.run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, kThreads * kTasks);
}

// It would spin for an hour.
TEST(EventLoop, HearsTimersAndOtherThreadsWhileItSpins) {
  EventLoop loop(INT64_C(3'600'000'000'000));
  Timer timer(loop);
  std::thread other;
  bool expired = false;
  timer.start(1'000'000, [&] {
    expired = true;
    other = std::thread([&] { loop.stop(); });
  });
  loop.run();
  other.join();
  EXPECT_TRUE(expired);
}

TEST(EventLoop, RunsAgainAfterStop) {
  EventLoop loop;
  loop.stop();
  loop.run();
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(ran);
}

TEST(EventLoop, BelongsToTheThreadThatRunsIt) {
  EventLoop loop;
  EXPECT_TRUE(loop.owned_by_caller());
  loop.post([&] {
    std::thread([&] { EXPECT_FALSE(loop.owned_by_caller()); }).join();
    loop.stop();
  });
  loop.run();
}

TEST(EventLoop, HandsOnSignals) {
  EventLoop loop;
  std::vector<int> numbers;
  loop.handle_signals({SIGUSR1, SIGUSR2}, [&](int number) {
    numbers.push_back(number);
    if (numbers.size() == 2) return loop.stop();
    std::raise(SIGUSR2);
  });
  std::raise(SIGUSR1);
  loop.run();
  EXPECT_EQ(numbers, (std::vector<int>{SIGUSR1, SIGUSR2}));
}

TEST(EventLoop, GivesSignalsBack) {
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction first = {};
  ::sigaction(SIGUSR1, &ignore, &first);
  for (int times = 0; times < 2; ++times) {
    EventLoop loop;
    loop.handle_signals({SIGUSR1}, [](int) {});
  }
  struct sigaction now = {};
  ::sigaction(SIGUSR1, &first, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
}

// Each sleeps until the other posts.
TEST(EventLoop, WakesUpForWhatAnotherThreadPosts) {
  EventLoop here;
  EventLoop there;
  int left = 2000;
  std::function<void()> ask = [&] {
    there.post([&] {
      here.post([&] {
        if (--left > 0) return ask();
        there.stop();
        here.stop();
      });
    });
  };
  std::thread thread([&] { there.run(); });
  here.post(ask);
  here.run();
  thread.join();
  EXPECT_EQ(left, 0);
}

TEST(EventLoop, DropsWhatWasPostedAlsoWhereThatPosts) {
  auto dropped = std::make_shared<int>(0);
  {
    EventLoop loop;
    const std::shared_ptr<void> posts_at_its_end(
        nullptr, [&loop, dropped](void*) { loop.post([dropped] {}); });
    loop.post([posts_at_its_end] {});
  }
  EXPECT_EQ(dropped.use_count(), 1);
}

TEST(Timer, ExpiresInOrderOfTime) {
  EventLoop loop;
  Timer late(loop);
  Timer early(loop);
  std::string order;
  late.start(2'000'000, [&] {
    order += "late";
    loop.stop();
  });
  early.start(1'000'000, [&] { order += "early "; });
  EXPECT_TRUE(early.running());
  loop.run();
  EXPECT_FALSE(early.running());
  EXPECT_EQ(order, "early late");
}

TEST(Timer, ACancelledOneStaysSilentEvenWhenItsTimeHadCome) {
  EventLoop loop;
  auto destroyed = std::make_unique<Timer>(loop);
  Timer cancelled(loop);
  Timer restarted(loop);
  int expired = 0;
  destroyed->start(0, [&] { ++expired; });
  cancelled.start(0, [&] { ++expired; });
  restarted.start(0, [&] { ++expired; });
  const int64_t begin_ns = loop.now_ns();
  loop.post([&] {
    destroyed.reset();
    cancelled.cancel();
    restarted.start(1'000'000, [&] {
      EXPECT_GE(loop.now_ns() - begin_ns, 1'000'000);
      expired += 100;
      loop.stop();
    });
  });
  loop.run();
  EXPECT_EQ(expired, 100);
}

}  // namespace
}  // namespace sluice::net
