#include "gateway/routing/running_streams.h"

#include <algorithm>

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

int32_t RunningStreams::enter(const PacePromise& promise) {
  if (taken_.fetch_add(1, kRelaxed) < kPlaces) {
    const uint32_t begin = next_.fetch_add(1, kRelaxed);
    for (uint32_t i = 0; i < kPlaces; ++i) {
      const uint32_t index = (begin + i) % kPlaces;
      Place& place = places_[index];
      int64_t free = kFree;
      if (!place.first_token_ns.compare_exchange_strong(free, kNoTokenYet, kRelaxed)) continue;
      place.tokens.store(0, kRelaxed);
      place.promise.store(promise, kRelaxed);
      return static_cast<int32_t>(index);
    }
  }
  taken_.fetch_sub(1, kRelaxed);
  return kNowhere;
}

void RunningStreams::first_token(int32_t place, int64_t now_ns) {
  if (place == kNowhere) return;
  places_[static_cast<size_t>(place)].first_token_ns.store(std::max<int64_t>(now_ns, 1), kRelaxed);
}

void RunningStreams::tokens(int32_t place, int64_t tokens) {
  if (place == kNowhere) return;
  places_[static_cast<size_t>(place)].tokens.store(static_cast<int32_t>(tokens), kRelaxed);
}

void RunningStreams::leave(int32_t place) {
  if (place == kNowhere) return;
  places_[static_cast<size_t>(place)].first_token_ns.store(kFree, kRelaxed);
  taken_.fetch_sub(1, kRelaxed);
}

size_t RunningStreams::look(int64_t now_ns, std::span<RunningStream> streams) const {
  const auto taken = static_cast<size_t>(std::max(taken_.load(kRelaxed), 0));
  const size_t each = std::max<size_t>(1, (taken + streams.size() - 1) / streams.size());
  size_t passed = 0;
  size_t seen = 0;
  for (const Place& place : places_) {
    if (passed >= taken || seen == streams.size()) break;
    const int64_t first_token_ns = place.first_token_ns.load(kRelaxed);
    if (first_token_ns == kFree || passed++ % each != 0) continue;
    RunningStream& stream = streams[seen++];
    stream = {.promise = place.promise.load(kRelaxed)};
    if (first_token_ns == kNoTokenYet) continue;
    stream.since_first_ns = static_cast<double>(std::max<int64_t>(now_ns - first_token_ns, 0));
    stream.tokens = static_cast<double>(place.tokens.load(kRelaxed));
  }
  return seen;
}

}  // namespace sluice::gateway
