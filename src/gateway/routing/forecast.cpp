#include "gateway/routing/forecast.h"

#include <algorithm>
#include <cmath>

#include "core/assert.h"
#include "gateway/routing/latency_model.h"

namespace sluice::gateway {
namespace {

// Tokens ahead at which the run ahead is looked at; what goes on after the last ends there.
constexpr std::array kAhead = {0.0,   16.0,   32.0,   48.0,   64.0,   96.0,   128.0,
                               160.0, 192.0,  256.0,  320.0,  384.0,  448.0,  512.0,
                               768.0, 1024.0, 1536.0, 2048.0, 3072.0, 4096.0, 8192.0};
using Curve = std::array<double, kAhead.size()>;

// How far the time ahead may be off. From 0.02 to 0.1 the valve's costs are the same: what it
// allows is corrected by what became of its decisions.
constexpr double kSpread = 0.05;
constexpr double kSpreadLeast = 0.002;  // of a stream's whole time
constexpr double kSureAt = 4.0;         // standard deviations

// The share of streams with `tokens` tokens that still run so many steps ahead.
Curve alive_ahead(const LengthCurve& lengths, double tokens) {
  const double now = lengths.beyond(tokens);
  Curve alive;
  for (size_t i = 0; i < alive.size(); ++i)
    alive[i] = now > 0.0 ? lengths.beyond(tokens + kAhead[i]) / now
                         : (tokens + 1.0) / (tokens + 1.0 + kAhead[i]);  // longer than any before
  return alive;
}

// How long so many steps ahead take. `streams`: that run then.
Curve time_ahead_ns(const Pace& pace, const Curve& streams) {
  Curve time_ns = {};
  for (size_t i = 1; i < time_ns.size(); ++i)
    time_ns[i] =
        time_ns[i - 1] + (kAhead[i] - kAhead[i - 1]) *
                             (pace.step_ns + pace.stream_ns * 0.5 * (streams[i - 1] + streams[i]));
  return time_ns;
}

double miss_chance(double past_ns, double ahead_ns, double limit_ns) {
  const double spread_ns = std::max(kSpread * ahead_ns, kSpreadLeast * limit_ns);
  const double z = (past_ns + ahead_ns - limit_ns) / spread_ns;
  if (std::abs(z) > kSureAt) return z > 0.0 ? 1.0 : 0.0;
  return normal_share(z);
}

// With the time ahead as `time_ns` has it, and `held_up_ns` more for one that has begun.
double expected_misses(const RunningStream& stream, const Curve& alive, const Curve& time_ns,
                       double held_up_ns) {
  const bool begun = stream.tokens > 0.0;
  double misses = 0.0;
  for (size_t i = 1; i < alive.size(); ++i) {
    const double ends = alive[i - 1] - (i + 1 < alive.size() ? alive[i] : 0.0);
    if (ends <= 0.0) continue;
    const double ahead_ns = 0.5 * (time_ns[i - 1] + time_ns[i]) + (begun ? held_up_ns : 0.0);
    const double tokens = stream.tokens + 0.5 * (kAhead[i - 1] + kAhead[i]);
    const double limit_ns = tokens * static_cast<double>(stream.promise.tpot_limit_ns);
    misses += ends * miss_chance(stream.since_first_ns, ahead_ns, limit_ns);
  }
  return misses * static_cast<double>(stream.promise.miss_weight);
}

double first_of(size_t bucket) {
  return static_cast<double>(OutputHistogram::first_of(bucket));
}

}  // namespace

LengthCurve::LengthCurve(const OutputHistogram& lengths) {
  const auto counts = lengths.counts();
  beyond_.back() = 0.0;
  for (size_t i = counts.size(); i-- > 0;)
    beyond_[i] = beyond_[i + 1] + static_cast<double>(counts[i]);
}

double LengthCurve::beyond(double tokens) const {
  const size_t bucket = OutputHistogram::bucket_of(static_cast<int64_t>(tokens));
  const double from = first_of(bucket);
  const double share = std::clamp((tokens - from) / (first_of(bucket + 1) - from), 0.0, 1.0);
  return beyond_[bucket] + share * (beyond_[bucket + 1] - beyond_[bucket]);
}

double misses_added(const Forecast& forecast) {
  const std::span<const RunningStream> streams = forecast.streams;
  ASSERT(streams.size() <= Forecast::kStreamsMax, "{} streams, at most {}", streams.size(),
         Forecast::kStreamsMax);
  const bool any = forecast.promise.miss_weight > 0.0F ||
                   std::ranges::any_of(streams, [](const RunningStream& stream) {
                     return stream.promise.miss_weight > 0.0F;
                   });
  if (!any) return 0.0;

  std::array<Curve, Forecast::kStreamsMax> alive;
  Curve without = {};
  for (size_t i = 0; i < streams.size(); ++i) {
    alive[i] = alive_ahead(*forecast.lengths, streams[i].tokens);
    for (size_t j = 0; j < without.size(); ++j) without[j] += forecast.streams_each * alive[i][j];
  }
  const Curve newcomer = alive_ahead(*forecast.lengths, 0.0);
  Curve with;
  for (size_t j = 0; j < with.size(); ++j) with[j] = without[j] + newcomer[j];
  const Curve without_ns = time_ahead_ns(forecast.pace, without);
  const Curve with_ns = time_ahead_ns(forecast.pace, with);
  const double queue_ns = forecast.queued_prompt_tokens * forecast.pace.prompt_token_ns;
  const double prompt_ns = forecast.prompt_tokens * forecast.pace.prompt_token_ns;

  double added = expected_misses({.promise = forecast.promise}, newcomer, with_ns, 0.0);
  for (size_t i = 0; i < streams.size(); ++i) {
    if (streams[i].promise.miss_weight <= 0.0F) continue;
    added += forecast.streams_each *
             (expected_misses(streams[i], alive[i], with_ns, queue_ns + prompt_ns) -
              expected_misses(streams[i], alive[i], without_ns, queue_ns));
  }
  return std::max(added, 0.0);
}

}  // namespace sluice::gateway
