#include "gateway/routing/health.h"

#include <algorithm>
#include <array>

namespace sluice::gateway {
namespace {

enum class Says : uint8_t {
  kNothing,  // of the replica
  kWell,     // it speaks
  kIll,      // one of kErrorsInARow
  kEject,    // at once
};

struct OutcomeRow {
  UpstreamOutcome outcome;
  Says says;
  Retry retry;  // before the first byte
};

constexpr OutcomeRow kOutcomeRows[] = {
    {UpstreamOutcome::kComplete, Says::kWell, Retry::kNo},
    {UpstreamOutcome::kClientGone, Says::kNothing, Retry::kNo},
    {UpstreamOutcome::kRefused, Says::kWell, Retry::kNo},
    {UpstreamOutcome::kBusy, Says::kWell, Retry::kElsewhere},
    {UpstreamOutcome::kServerError, Says::kIll, Retry::kElsewhere},
    {UpstreamOutcome::kConnectError, Says::kIll, Retry::kElsewhere},
    {UpstreamOutcome::kBroken, Says::kIll, Retry::kNo},
    {UpstreamOutcome::kTimeout, Says::kIll, Retry::kElsewhere},
    {UpstreamOutcome::kStalled, Says::kEject, Retry::kNo},
};

const OutcomeRow& row_of(UpstreamOutcome outcome) {
  return kOutcomeRows[static_cast<size_t>(outcome)];
}

static_assert(
    [] {
      size_t index = 0;
      for (const OutcomeRow& row : kOutcomeRows)
        if (static_cast<size_t>(row.outcome) != index++) return false;
      return index == kUpstreamOutcomes;
    }(),
    "one row for each outcome, in order");

}  // namespace

UpstreamOutcome outcome_of_status(int status, RetryAfter retry_after) {
  if (status == 429) return UpstreamOutcome::kBusy;
  if (status == 503 && retry_after == RetryAfter::kGiven) return UpstreamOutcome::kBusy;
  if (status == 408 || status >= 500) return UpstreamOutcome::kServerError;
  return UpstreamOutcome::kRefused;
}

Retry may_retry(UpstreamOutcome outcome, FirstByte first_byte, int tries) {
  if (first_byte == FirstByte::kPassedOn || tries >= kTriesMax) return Retry::kNo;
  return row_of(outcome).retry;
}

// ---- Health -------------------------------------------------------------------------------------

void Health::on_outcome(UpstreamOutcome outcome, int64_t now_ns) {
  switch (row_of(outcome).says) {
    case Says::kNothing:
      return;
    case Says::kWell:
      errors_in_a_row_.store(0, kRelaxed);
      forgive(now_ns);
      return;
    case Says::kIll:
      next_probe_ns_.store(std::min(next_probe_ns_.load(kRelaxed), now_ns), kRelaxed);
      if (errors_in_a_row_.fetch_add(1, kRelaxed) + 1 >= kErrorsInARow) eject(now_ns);
      return;
    case Says::kEject:
      eject(now_ns);
      return;
  }
}

void Health::forgive(int64_t now_ns) {
  const int64_t count = ejections_.load(kRelaxed);
  if (count == 0) return;
  int64_t quiet_from_ns = quiet_from_ns_.load(kRelaxed);
  if (now_ns - quiet_from_ns < kEjectionNs) return;
  if (quiet_from_ns_.compare_exchange_strong(quiet_from_ns, now_ns, kRelaxed))
    ejections_.fetch_sub(1, kRelaxed);
}

// What fails again right after its return (errors_in_a_row_ has not been reset) goes at once, and
// for longer.
void Health::eject(int64_t now_ns) {
  int64_t until_ns = ejected_until_ns_.load(kRelaxed);
  if (now_ns < until_ns) return;
  const int64_t count = ejections_.load(kRelaxed) + 1;
  const int64_t end_ns = now_ns + std::min(kEjectionNs * count, kEjectionMaxNs);
  if (!ejected_until_ns_.compare_exchange_strong(until_ns, end_ns, kRelaxed)) return;
  ejections_.fetch_add(1, kRelaxed);
  quiet_from_ns_.store(end_ns, kRelaxed);
  out_since_ns_.store(now_ns, kRelaxed);
}

void Health::on_probe(ProbeResult result, int64_t now_ns) {
  if (result == ProbeResult::kUp) {
    probes_failed_.store(0, kRelaxed);
    if (probes_succeeded_.fetch_add(1, kRelaxed) + 1 >= kProbesUp)
      probed_down_.store(false, kRelaxed);
  } else {
    probes_succeeded_.store(0, kRelaxed);
    if (probes_failed_.fetch_add(1, kRelaxed) + 1 >= kProbesDown &&
        !probed_down_.exchange(true, kRelaxed))
      out_since_ns_.store(now_ns, kRelaxed);
  }
  const bool doubtful =
      probed_down_.load(kRelaxed) || probes_failed_.load(kRelaxed) > 0 || ejected(now_ns);
  next_probe_ns_.store(now_ns + (doubtful ? kProbeIntervalDownNs : kProbeIntervalNs), kRelaxed);
}

void Health::on_ttft(double ttft_ns, double pool_median_ns, int64_t now_ns) {
  if (pool_median_ns <= 0.0 || ttft_ns <= kOutlierRatio * pool_median_ns) {
    outlier_since_ns_.store(0, kRelaxed);
    return;
  }
  const int64_t since_ns = outlier_since_ns_.load(kRelaxed);
  if (since_ns == 0) {
    outlier_since_ns_.store(now_ns, kRelaxed);
  } else if (now_ns - since_ns >= kOutlierNs) {
    outlier_since_ns_.store(0, kRelaxed);
    eject(now_ns);
  }
}

// ---- of a pool ----------------------------------------------------------------------------------

int64_t ejected_max(int64_t replicas) {
  constexpr int64_t kFew = 4;
  return std::max<int64_t>(1, replicas <= kFew ? replicas / 2 : replicas / 10);
}

void select_out(std::span<const Health* const> pool, int64_t now_ns, std::span<uint8_t> out) {
  int64_t ejected = 0;
  for (size_t i = 0; i < pool.size(); ++i) {
    out[i] = pool[i]->out(now_ns) ? 1 : 0;
    ejected += out[i] && !pool[i]->probed_down() ? 1 : 0;
  }
  // Those ejected last come back until few enough are out.
  for (int64_t allowed = ejected_max(static_cast<int64_t>(pool.size())); ejected > allowed;
       --ejected) {
    size_t last = pool.size();
    for (size_t i = 0; i < pool.size(); ++i) {
      if (!out[i] || pool[i]->probed_down()) continue;
      if (last == pool.size() || pool[i]->out_since_ns() > pool[last]->out_since_ns()) last = i;
    }
    out[last] = 0;
  }
  if (std::ranges::all_of(out, [](uint8_t flag) { return flag != 0; })) std::ranges::fill(out, 0);
}

}  // namespace sluice::gateway
