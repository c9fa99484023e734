#include "gateway/limits/flow.h"

namespace sluice::gateway {
namespace {

__extension__ using Wide = __int128;

}  // namespace

RateLimit RateLimit::of(int64_t per_minute, int64_t burst_ms) {
  constexpr int64_t kMinuteMs = 60'000;
  const int64_t limit = std::clamp<int64_t>(per_minute, 0, kPerMinuteMax);
  if (limit == 0) return {};
  const Wide burst = static_cast<Wide>(limit) * std::max<int64_t>(burst_ms, 0) / kMinuteMs;
  return {limit, static_cast<int64_t>(std::clamp<Wide>(burst, 1, kBurstMax))};
}

int64_t Flow::wide_part(int64_t rest_ns) const {
  return static_cast<int64_t>(static_cast<Wide>(rest_ns) * per_minute / kMinuteNs);
}

int64_t Flow::time_of(int64_t tokens) const {
  if (tokens <= anchor_tokens) return anchor_ns;
  if (per_minute == 0) return kNeverNs;
  const Wide needed = static_cast<Wide>(tokens - anchor_tokens) * kMinuteNs;
  const Wide time_ns = anchor_ns + (needed + per_minute - 1) / per_minute;
  return static_cast<int64_t>(std::min<Wide>(time_ns, kNeverNs));
}

}  // namespace sluice::gateway
