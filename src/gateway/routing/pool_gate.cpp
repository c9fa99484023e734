#include "gateway/routing/pool_gate.h"

#include <algorithm>
#include <limits>

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kNsPerUs = 1000;
constexpr int64_t kMinuteMs = 60'000;  // saved up, and taken at once after a quiet minute

int64_t streams_max_of(const contract::PoolCapacity& capacity) {
  return capacity.streams_max.value_or(std::numeric_limits<int64_t>::max());
}

// Without a bound nothing is taken of it; what was before flows out at once.
RateLimit rate_of(const contract::PoolCapacity& capacity) {
  return RateLimit::of(capacity.tokens_per_minute.value_or(RateLimit::kPerMinuteMax), kMinuteMs);
}

}  // namespace

PoolGate::PoolGate(const contract::PoolCapacity& capacity)
    : streams_max_(streams_max_of(capacity)),
      bounds_tokens_(capacity.tokens_per_minute.has_value()),
      tokens_(rate_of(capacity), 0) {}

void PoolGate::change(const contract::PoolCapacity& capacity) {
  streams_max_.store(streams_max_of(capacity), kRelaxed);
  tokens_.change(rate_of(capacity), seen_ns_.load(kRelaxed));
  bounds_tokens_.store(capacity.tokens_per_minute.has_value(), kRelaxed);
}

// What is longer than a minute's tokens goes when all of them are there.
int64_t PoolGate::cost_of(int64_t tokens) const {
  return std::clamp<int64_t>(tokens, 0, tokens_.limit());
}

std::optional<PoolGate::Pass> PoolGate::enter(const Asked& asked, int64_t now_ns) {
  int64_t streams = streams_.load(kRelaxed);
  do {
    if (streams >= streams_max_.load(kRelaxed)) return std::nullopt;
  } while (!streams_.compare_exchange_weak(streams, streams + 1, kRelaxed));
  Pass pass = {.counts_tokens = bounds_tokens_.load(kRelaxed),
               .end_us = (now_ns + asked.stay_ns) / kNsPerUs};
  if (pass.counts_tokens) {
    const RateAttempt attempt = tokens_.reserve(cost_of(asked.tokens), now_ns);
    if (attempt.answer != RateAnswer::kTaken) {
      streams_.fetch_sub(1, kRelaxed);
      return std::nullopt;
    }
    pass.place = attempt.place;
  }
  ends_us_.fetch_add(pass.end_us, kRelaxed);
  seen_ns_.store(now_ns, kRelaxed);
  return pass;
}

void PoolGate::leave(const Pass& pass, int64_t tokens_used, int64_t now_ns) {
  if (pass.counts_tokens) {
    tokens_.give_back(pass.place, std::min(tokens_used, pass.place.cost), now_ns);
    tokens_.book(std::max<int64_t>(tokens_used - pass.place.cost, 0), now_ns);
  }
  ends_us_.fetch_sub(pass.end_us, kRelaxed);
  streams_.fetch_sub(1, kRelaxed);
  seen_ns_.store(now_ns, kRelaxed);
}

PoolGate::Room PoolGate::room(int64_t tokens, int64_t now_ns) const {
  const int64_t streams = this->streams();
  const int64_t streams_max = streams_max_.load(kRelaxed);
  Room room;
  room.share = static_cast<double>(streams) / static_cast<double>(streams_max);
  if (streams >= streams_max) room.wait_ns = stream_wait_ns(streams, now_ns);
  if (bounds_tokens_.load(kRelaxed)) {
    const RateLevel level = tokens_.level(now_ns);
    const double left = static_cast<double>(level.remaining) / static_cast<double>(tokens_.limit());
    room.share = std::max(room.share, 1.0 - left);
    const RateAttempt attempt = tokens_.ask(cost_of(tokens), now_ns);
    if (attempt.answer == RateAnswer::kLater)
      room.wait_ns = std::max(room.wait_ns, attempt.retry_at_ns - now_ns);
  }
  if (room.wait_ns > 0) room.share = 1.0;
  return room;
}

// What streams have left is anything between nothing and twice its mean, so that the ends of n of
// them are n + 1 equal times apart.
int64_t PoolGate::stream_wait_ns(int64_t streams, int64_t now_ns) const {
  const int64_t left_us =
      std::max<int64_t>(ends_us_.load(kRelaxed) - streams * (now_ns / kNsPerUs), 0);
  const int64_t behind = streams - streams_max_.load(kRelaxed) + 1;
  return std::max<int64_t>(kNsPerUs * 2 * left_us / streams / (streams + 1) * behind, 1);
}

}  // namespace sluice::gateway
