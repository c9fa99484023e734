// Routed experts of steps that a device runs: the rows of one layer, or of one layer after the
// other as the device's queue posts them.
#include <algorithm>
#include <bitset>
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

void Forward::receive_rows(const Worker& w, const RoutedRows& routed) {
  const core::Range rows = core::split(w.rows, 1, w.row_thread, w.row_threads);
  for (int64_t i = rows.begin * spec_.hidden; i < rows.end * spec_.hidden; ++i)
    w.inputs->normed[i] = kernels::float_of_bf16(routed.x[i]);
}

// Leaves every thread's part of `out` written; the next reader waits for all of them.
void Forward::add_choices(Worker& w, const LayerWeights& layer, std::span<const int32_t> ids,
                          const float* weights, float* out) {
  if (w.thread == 0) plan_groups(ids);
  meet(w);
  routed_products(w, layer, SharedExperts::kNone);
  meet(w);
  add_routed(w, weights, out);
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
    receive_rows(w, routed);
    const core::Range out = core::split(w.rows * spec_.hidden, 64, thread, threads);
    std::fill(routed.out + out.begin, routed.out + out.end, 0.0f);
    add_choices(w, layer, {routed.ids, static_cast<size_t>(w.rows * spec_.experts.used)},
                routed.weights, routed.out);
  });
}

void Forward::count_pulls(const RoutedTurns& turns, std::span<const int32_t> ids,
                          const ExpertCache* cache) {
  std::bitset<kernels::kPickedExpertsMax> read, pulled;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) continue;
    const auto id = static_cast<size_t>(ids[i]);
    if (turns.own[i] >= 0)
      read.set(id);
    else if (cache == nullptr || cache->slots_of()[id] < 0)
      pulled.set(id);
  }
  turns.pulls->read += static_cast<int64_t>(read.count());
  turns.pulls->pulled += static_cast<int64_t>(pulled.count());
}

// experts_.ids: what this answer has of the turn's choices; later_ids: what the next one has.
void Forward::part_choices(const RoutedTurns& turns, size_t turn) {
  const int32_t used = spec_.experts.used;
  const auto choices = static_cast<size_t>(turns.rows.rows * used);
  const std::span<const int32_t> ids(turns.rows.ids, choices);
  std::copy_n(turns.own, choices, experts_.ids);
  if (!turns.caches.empty()) {
    ExpertCache& cache = turns.caches[turn];
    cache.see(ids);
    cache.count(ids);
  }
  if (turns.pulls != nullptr)
    count_pulls(turns, ids, turns.caches.empty() ? nullptr : &turns.caches[turn]);
  if (turns.deferred == 0) return;
  std::copy_n(turns.rows.weights, choices, experts_.weights);
  std::fill_n(experts_.later_ids, choices, -1);
  if (turn + 1 == turns.layers.size()) return;
  const auto of_row = static_cast<size_t>(used);
  for (size_t first = 0; first < choices; first += of_row)
    defer_lightest({experts_.weights + first, of_row}, turns.deferred,
                   {experts_.ids + first, of_row}, {experts_.later_ids + first, of_row});
}

// After the answer, while the device goes on: what the next one begins with.
void Forward::defer_choices(Worker& w, const LayerWeights& layer) {
  const core::Range own = core::split(w.rows * spec_.hidden, 64, w.thread, w.threads);
  std::fill(experts_.carried + own.begin, experts_.carried + own.end, 0.0f);
  meet(w);  // all have read the plan of the answer
  add_choices(w, layer, {experts_.later_ids, static_cast<size_t>(w.rows * spec_.experts.used)},
              experts_.weights, experts_.carried);
  meet(w);  // and of this
}

void Forward::answer_share(Worker w, const RoutedTurns& turns) {
  const core::Range own = core::split(w.rows * spec_.hidden, 64, w.thread, w.threads);
  for (size_t i = 0; i < turns.layers.size(); ++i) {
    const uint32_t turn = turns.first_turn + static_cast<uint32_t>(i);
    wait_for_post(turns, turn, w.thread);
    lap(w, &StepTimes::device_ns);
    receive_rows(w, turns.rows);
    float* const out = turns.rows.out;
    if (turns.deferred > 0 && i > 0)
      std::copy(experts_.carried + own.begin, experts_.carried + own.end, out + own.begin);
    else
      std::fill(out + own.begin, out + own.end, 0.0f);
    if (w.thread == 0) part_choices(turns, i);
    add_choices(w, *turns.layers[i],
                {experts_.ids, static_cast<size_t>(w.rows * spec_.experts.used)},
                turns.rows.weights, out);
    // The last thread answers. Nobody meets here: the next post follows the answer.
    if (experts_.threads_done.fetch_add(1, std::memory_order_acq_rel) + 1 == w.threads) {
      experts_.threads_done.store(0, std::memory_order_relaxed);
      turns.mailbox.answered.store(turn, std::memory_order_release);
    }
    if (turns.deferred > 0 && i + 1 < turns.layers.size()) defer_choices(w, *turns.layers[i]);
  }
}

void Forward::answer_routed(const RoutedTurns& turns) {
  begin_routed(turns.rows, turns.profile);
  pool_.run([&](int thread, int threads) { answer_share(worker(thread, threads), turns); });
}

}  // namespace sluice::model
