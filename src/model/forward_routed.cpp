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

constexpr int64_t kFetchBytes = 16 << 10;  // between two looks for a post

// Into the caches of who calls this.
void fetch(const std::byte* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += core::kCacheLineBytes)
    (void)*static_cast<const volatile std::byte*>(data + i);
}

}  // namespace

void Forward::receive_rows(const Worker& w, const RoutedRows& routed) {
  const core::Range rows = core::split(w.rows, 1, w.row_thread, w.row_threads);
  for (int64_t i = rows.begin * spec_.hidden; i < rows.end * spec_.hidden; ++i)
    w.inputs->normed[i] = kernels::float_of_bf16(routed.x[i]);
}

// Leaves every thread's part of `out` written; the next reader waits for all of them.
void Forward::add_choices(Worker& w, const LayerWeights& layer, const float* weights, float* out) {
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
    if (thread == 0) plan_groups({routed.ids, static_cast<size_t>(w.rows * spec_.experts.used)});
    add_choices(w, layer, routed.weights, routed.out);
  });
}

void Forward::count_pulls(const RoutedTurns& turns, size_t turn) const {
  std::bitset<kernels::kPickedExpertsMax> read, pulled;
  for (int64_t i = 0; i < turns.rows.rows * spec_.experts.used; ++i) {
    if (turns.rows.ids[i] < 0) continue;
    const auto id = static_cast<size_t>(turns.rows.ids[i]);
    if (turns.own[i] >= 0)
      read.set(id);
    else if (turns.caches.empty() || turns.caches[turn].slots_of()[id] < 0)
      pulled.set(id);
  }
  turns.counts.read += static_cast<int64_t>(read.count());
  turns.counts.pulled += static_cast<int64_t>(pulled.count());
}

// Of gate and up of experts that are guessed, one expert's after the other's, as many as the
// threads' caches have room for.
int64_t Forward::fetched_matrices(const LayerWeights& layer, const GuessedExperts& guess) const {
  const Matrix& gate = layer.expert_gate.front();
  const int64_t bytes = ops_.packed_bytes(gate.type, gate.outputs, gate.inputs);
  return std::min(fetch_bytes_ * pool_.threads() / bytes, 2 * static_cast<int64_t>(guess.count));
}

// This thread's share of the outputs of each, until the turn is posted.
void Forward::fetch_guessed(const Worker& w, const RoutedTurns& turns, size_t turn) const {
  const LayerWeights& layer = *turns.layers[turn];
  const GuessedExperts guess = guessed_of_host(turns.guess(turn, spec_.experts.used));
  const int64_t matrices = fetched_matrices(layer, guess);
  for (int64_t m = 0; m < matrices; ++m) {
    const auto expert = static_cast<size_t>(guess.ids[static_cast<size_t>(m / 2)]);
    const Matrix& matrix = m % 2 == 0 ? layer.expert_gate[expert] : layer.expert_up[expert];
    const core::Range share =
        core::split(ops_.packed_bytes(matrix.type, matrix.outputs, matrix.inputs),
                    core::kCacheLineBytes, w.thread, w.threads);
    for (int64_t at = share.begin; at < share.end; at += kFetchBytes) {
      if (turns.is_posted(turn)) return;
      fetch(matrix.data + at, std::min(kFetchBytes, share.end - at));
    }
  }
}

void Forward::wait_for_post(const Worker& w, const RoutedTurns& turns, size_t turn) const {
  bool has_fetched = false;
  for (int i = 1; !turns.is_posted(turn); ++i) {
    if (!has_fetched && turns.has_guess(turn)) {
      has_fetched = true;
      fetch_guessed(w, turns, turn);
    } else if (i < kSpins) {
      __builtin_ia32_pause();
    } else {
      if (w.thread == 0 && i % kYieldsOfCheck == 0) turns.device.check_alive();
      std::this_thread::yield();
    }
  }
}

// Of the plan, by the first thread: what was fetched and is wanted comes before other weights take
// its place in the caches.
void Forward::put_first(const RoutedTurns& turns, size_t turn) {
  const GuessedExperts guess = guessed_of_host(turns.guess(turn, spec_.experts.used));
  const int64_t matrices = fetched_matrices(*turns.layers[turn], guess);
  const auto groups = experts_.plan.groups();
  turns.counts.fetched += matrices;
  for (int64_t m = 0; m < matrices; ++m) {
    const int32_t expert = guess.ids[static_cast<size_t>(m / 2)];
    const auto group = std::find_if(groups.begin(), groups.end(),
                                    [&](const ExpertGroup& g) { return g.expert == expert; });
    if (group == groups.end()) continue;
    ++turns.counts.fetched_used;
    const auto matrix = static_cast<int32_t>(2 * (group - groups.begin()) + m % 2);
    const auto first = experts_.in_order.begin() + experts_.fetched++;
    const auto at = std::find(first, experts_.in_order.end(), matrix);
    std::rotate(first, at, at + 1);
  }
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
  if (turns.pull_share > 0) count_pulls(turns, turn);
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
  if (w.thread == 0)
    plan_groups({experts_.later_ids, static_cast<size_t>(w.rows * spec_.experts.used)});
  add_choices(w, layer, experts_.weights, experts_.carried);
  meet(w);  // and of this
}

void Forward::answer_share(Worker w, const RoutedTurns& turns) {
  const core::Range own = core::split(w.rows * spec_.hidden, 64, w.thread, w.threads);
  for (size_t i = 0; i < turns.layers.size(); ++i) {
    const uint32_t turn = turns.number(i);
    wait_for_post(w, turns, i);
    lap(w, &StepTimes::device_ns);
    receive_rows(w, turns.rows);
    float* const out = turns.rows.out;
    if (turns.deferred > 0 && i > 0)
      std::copy(experts_.carried + own.begin, experts_.carried + own.end, out + own.begin);
    else
      std::fill(out + own.begin, out + own.end, 0.0f);
    if (w.thread == 0) {
      part_choices(turns, i);
      plan_groups({experts_.ids, static_cast<size_t>(w.rows * spec_.experts.used)});
      put_first(turns, i);
    }
    add_choices(w, *turns.layers[i], turns.rows.weights, out);
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
