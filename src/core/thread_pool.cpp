#include "core/thread_pool.h"

#include <immintrin.h>

#include <chrono>

#include "core/assert.h"

namespace sluice::core {
namespace {

constexpr int kCountedThreadsMax = 4;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Returns once `word` differs from `old`: spins first, then sleeps on the word.
void wait_while_equal(const std::atomic<uint32_t>& word, uint32_t old) {
  const int64_t deadline_ns = now_ns() + ThreadPool::kSpinNs;
  do {
    for (int i = 0; i < 64; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      _mm_pause();
    }
  } while (now_ns() < deadline_ns);
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), begun_(static_cast<size_t>(threads)) {
  ASSERT(threads >= 1, "{} threads", threads);
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { worker(t); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& w : workers_) w.join();
}

void ThreadPool::run_erased(Function function, const void* context) {
  DEBUG_ASSERT(!running_.exchange(true), "run() of {} threads in or beside another", threads_);
  if (threads_ > 1) {
    function_ = function;
    context_ = context;
    working_.store(static_cast<uint32_t>(threads_ - 1), std::memory_order_relaxed);
    arrivals_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  function(context, 0, threads_);
  for (uint32_t left = working_.load(std::memory_order_acquire); left != 0;
       left = working_.load(std::memory_order_acquire))
    wait_while_equal(working_, left);
  running_.store(false, std::memory_order_relaxed);
}

void ThreadPool::meet(int thread) {
  if (threads_ == 1) return;
  if (threads_ <= kCountedThreadsMax)
    meet_counting();
  else
    meet_first(thread);
}

// One counter that only grows: the last arrival is itself the signal, so a meeting of two threads
// is one move of a cache line each way.
void ThreadPool::meet_counting() {
  const auto threads = static_cast<uint32_t>(threads_);
  const uint32_t arrived = arrivals_.fetch_add(1, std::memory_order_acq_rel) + 1;
  const uint32_t all = (arrived + threads - 1) / threads * threads;
  ASSERT(all >= arrived, "{} arrivals in one run", arrived);
  if (arrived == all) {
    arrivals_.notify_all();
    return;
  }
  for (uint32_t seen = arrived; seen < all; seen = arrivals_.load(std::memory_order_acquire))
    wait_while_equal(arrivals_, seen);
}

// Each writes a line of its own, the first thread reads them all and tells the others. Sixteen
// additions to one counter, around which all wait, take three times as long.
void ThreadPool::meet_first(int thread) {
  std::atomic<uint32_t>& own = begun_[static_cast<size_t>(thread)].count;
  const uint32_t before = own.load(std::memory_order_relaxed);
  if (thread != 0) {
    own.store(before + 1, std::memory_order_release);
    own.notify_one();
    wait_while_equal(ended_, before);
    return;
  }
  for (size_t other = 1; other < begun_.size(); ++other)
    wait_while_equal(begun_[other].count, before);
  own.store(before + 1, std::memory_order_relaxed);
  ended_.store(before + 1, std::memory_order_release);
  ended_.notify_all();
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait_while_equal(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    function_(context_, thread, threads_);
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
  }
}

}  // namespace sluice::core
