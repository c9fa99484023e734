// Routed experts of steps that a device runs: the rows of one layer, or of one layer after the
// other as the device's queue posts them.
#include <algorithm>
#include <thread>

#include "kernels/half.h"
#include "model/forward.h"

namespace sluice::model {
namespace {

// A post comes within a millisecond: threads that wait for it keep their cores, and only where it
// takes long give way to others.
constexpr int kSpins = 20'000;
constexpr int kYieldsOfCheck = 10'000;

void wait_for_post(const Forward::RoutedTurns& turns, uint32_t turn, int thread) {
  const auto is_posted = [&] {
    const uint32_t posted = turns.mailbox.posted.load(std::memory_order_acquire);
    return static_cast<int32_t>(posted - turn) >= 0;
  };
  for (int i = 0; i < kSpins; ++i) {
    if (is_posted()) return;
    __builtin_ia32_pause();
  }
  for (int i = 1; !is_posted(); ++i) {
    if (thread == 0 && i % kYieldsOfCheck == 0) turns.device.check_alive();
    std::this_thread::yield();
  }
}

}  // namespace

// Leaves every thread's part of `out` written; the next reader waits for all of them.
void Forward::run_routed_share(Worker& w, const LayerWeights& layer, const RoutedRows& routed) {
  const core::Range rows = core::split(w.rows, 1, w.row_thread, w.row_threads);
  for (int64_t i = rows.begin * spec_.hidden; i < rows.end * spec_.hidden; ++i)
    w.inputs->normed[i] = kernels::float_of_bf16(routed.x[i]);
  const core::Range out = core::split(w.rows * spec_.hidden, 64, w.thread, w.threads);
  std::fill(routed.out + out.begin, routed.out + out.end, 0.0f);
  if (w.thread == 0) plan_groups({routed.ids, static_cast<size_t>(w.rows * spec_.experts.used)});
  meet(w);
  routed_products(w, layer, SharedExperts::kNone);
  meet(w);
  add_routed(w, routed.weights, routed.out);
}

void Forward::begin_routed(const RoutedRows& routed, StepProfile* profile) {
  ASSERT(routed.rows >= 1 && routed.rows <= rows_max_, "{} rows, at most {}", routed.rows,
         rows_max_);
  routed_step_.profile = profile;
  batch_ = &routed_step_;
  rows_ = routed.rows;
}

void Forward::run_routed(const LayerWeights& layer, const RoutedRows& routed) {
  begin_routed(routed, nullptr);
  pool_.run([&](int thread, int threads) {
    Worker w = worker(thread, threads);
    run_routed_share(w, layer, routed);
  });
}

void Forward::answer_share(Worker w, const RoutedTurns& turns) {
  uint32_t turn = turns.first_turn;
  for (const LayerWeights* layer : turns.layers) {
    wait_for_post(turns, turn, w.thread);
    lap(w, &StepTimes::device_ns);
    run_routed_share(w, *layer, turns.rows);
    // The last thread answers. Nobody meets here: the next post follows the answer.
    if (experts_.threads_done.fetch_add(1, std::memory_order_acq_rel) + 1 == w.threads) {
      experts_.threads_done.store(0, std::memory_order_relaxed);
      turns.mailbox.answered.store(turn, std::memory_order_release);
    }
    ++turn;
  }
}

void Forward::answer_routed(const RoutedTurns& turns) {
  begin_routed(turns.rows, turns.profile);
  pool_.run([&](int thread, int threads) { answer_share(worker(thread, threads), turns); });
}

}  // namespace sluice::model
