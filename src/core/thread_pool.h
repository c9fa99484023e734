// A persistent pool for the loops inside one step.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace sluice::core {

// run(work) calls work(thread, threads) once on every thread of the pool, the caller being thread
// 0, and returns when all are done. Waiting threads spin for at most kSpinNs and then sleep, so
// that several engines can share a machine; an idle pool uses no CPU. No allocation, no lock.
// One run() at a time: from one thread, and never from inside `work`. Phases of a run are parted by
// meet(), which costs about a third of a new run.
class ThreadPool {
 public:
  static constexpr int64_t kSpinNs = 50'000;

  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  template <typename Work>
  void run(const Work& work) {
    run_erased([](const void* context, int thread,
                  int threads) { (*static_cast<const Work*>(context))(thread, threads); },
               &work);
  }

  // Inside a run, called by every thread as often as by every other: returns once all have called
  // it, and what they wrote before is visible.
  void meet(int thread);

 private:
  using Function = void (*)(const void* context, int thread, int threads);
  void run_erased(Function function, const void* context);
  void worker(int thread);
  void meet_counting();
  void meet_first(int thread);

  const int threads_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<uint32_t> working_{0};
  alignas(64) std::atomic<uint32_t> arrivals_{0};  // of few threads, in the run under way
  struct alignas(64) Meetings {
    std::atomic<uint32_t> count{0};
  };
  std::vector<Meetings> begun_;  // of many threads: by thread, those that it came to
  alignas(64) std::atomic<uint32_t> ended_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};  // a run() is under way; for DEBUG_ASSERT
  std::vector<std::thread> workers_;
};

// The part [begin, end) of `count` items, in units of `unit`, that thread `thread` of `threads`
// does.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};
constexpr Range split(int64_t count, int64_t unit, int thread, int threads) {
  const int64_t units = (count + unit - 1) / unit;
  const int64_t begin = units * thread / threads * unit;
  const int64_t end = units * (thread + 1) / threads * unit;
  return {begin < count ? begin : count, end < count ? end : count};
}

}  // namespace sluice::core
