// What a request pays for its limits. items/s are checks of one limit each (one atomic word):
//   limits_bench --benchmark_min_time=0.5
#include <benchmark/benchmark.h>

#include "core/assert.h"
#include "core/clock.h"
#include "gateway/limits/limit_set.h"
#include "gateway/limits/limit_table.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {
namespace {

constexpr RateLimit kRoomy = {.per_minute = 999'999'937, .burst = 999'999'937};

int64_t now_ns() {
  return core::SystemClock().now_ns();
}

// One word, the clock read each time: reserved, and settled at a tenth.
void reserve_and_settle(benchmark::State& state) {
  static RateWord<> word(kRoomy, now_ns());
  for (auto _ : state) {
    const RateAttempt attempt = word.reserve(100, now_ns());
    word.give_back(attempt.place, attempt.place.cost / 10, now_ns());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(reserve_and_settle)->Threads(1)->Threads(2);

void refuse(benchmark::State& state) {
  RateWord<> word({.per_minute = 1, .burst = 1}, now_ns());
  word.reserve(1, now_ns());
  for (auto _ : state) benchmark::DoNotOptimize(word.reserve(1, now_ns()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(refuse);

struct World {
  explicit World(const contract::Limits& limits) {
    snapshot.tenants.push_back({.id = "acme", .limits = limits});
    snapshot.projects.push_back({.id = "web", .tenant = "acme", .limits = limits});
    snapshot.keys.push_back({.id = "key_1", .project = "web", .limits = limits});
    snapshot.models.push_back({.id = "smol", .limits = limits});
    table.apply(std::make_shared<contract::Snapshot>(snapshot));
    sets = {table.key_limits(snapshot.keys[0], snapshot.projects[0]),
            table.model_limits(snapshot.models[0])};
  }
  int64_t limits() const {
    return static_cast<int64_t>(sets.key->states().size() + sets.model->states().size());
  }

  core::SystemClock clock;
  contract::Snapshot snapshot;
  LimitTable table{clock};
  LimitSets sets;
};

// A request's whole way: reserve in all limits, settle, the numbers of the headers.
void whole_request(benchmark::State& state, const contract::Limits& limits) {
  World world(limits);
  for (auto _ : state) {
    auto reserved = reserve(world.sets, {.input_tokens = 80,
                                         .output_tokens_likely = 20,
                                         .output_tokens_max = 100,
                                         .money_max = {1'000}});
    ASSERT(reserved.ok(), "refused: {}", reserved.error().message);
    benchmark::DoNotOptimize(rate_limit_headers(world.sets));
    reserved->settle({.input_tokens = 80, .output_tokens = 10, .money = {900}});
  }
  state.SetItemsProcessed(state.iterations() * world.limits());
  state.counters["limits"] = static_cast<double>(world.limits());
  state.counters["requests/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

constexpr int64_t kMany = 50'000'000'000;
constexpr int64_t kEndless = int64_t{1} << 60;
BENCHMARK_CAPTURE(whole_request, two_each,
                  contract::Limits{.requests_per_minute = kMany, .tokens_per_minute = kMany});
BENCHMARK_CAPTURE(whole_request, all_nine_each,
                  contract::Limits{.requests_per_minute = kMany,
                                   .input_tokens_per_minute = kMany,
                                   .output_tokens_per_minute = kMany,
                                   .tokens_per_minute = kMany,
                                   .concurrent_streams = 100,
                                   .tokens_per_day = kEndless,
                                   .tokens_per_month = kEndless,
                                   .money_per_day = contract::NanoMoney{kEndless},
                                   .money_per_month = contract::NanoMoney{kEndless}});

}  // namespace
}  // namespace sluice::gateway

BENCHMARK_MAIN();
