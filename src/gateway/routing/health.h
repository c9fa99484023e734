// Whether a replica answers: probes, ejection and return, and what may be tried again.
//
// A replica is out while its probes fail or while it is ejected. It is ejected after kErrorsInARow
// server or connection errors, when it is a TTFT outlier, or when streams stall; for kEjection
// times the number of ejections that a quiet time has not yet forgotten. 400 and 413 say nothing
// about a replica, 429 says that it is busy. Not more than a share of a pool is out at once, and
// when all are out all are asked (fail open). Figures: Envoy's outlier detection, with LLM-specific
// rows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::gateway {

enum class UpstreamOutcome : uint8_t {
  kComplete,
  kClientGone,    // says nothing about the replica
  kRefused,       // 4xx but 408 and 429: the request's own fault
  kBusy,          // 429, 503 with Retry-After: load, not a fault
  kServerError,   // 408, 5xx
  kConnectError,  // no connection, or it broke before the first byte
  kBroken,        // the stream broke after the first byte
  kTimeout,       // no first byte in time
  kStalled,       // no token for 10 × TPOT
};

inline constexpr size_t kUpstreamOutcomes = 9;

// Of an HTTP status that is not 2xx.
enum class RetryAfter : uint8_t { kMissing, kGiven };
UpstreamOutcome outcome_of_status(int status, RetryAfter retry_after);

// May a request that ended so be sent to another replica? Only before its first byte was passed on;
// `tries` counts the one that ended.
enum class Retry : uint8_t { kNo, kElsewhere };
enum class FirstByte : uint8_t { kHeldBack, kPassedOn };
inline constexpr int kTriesMax = 3;
Retry may_retry(UpstreamOutcome outcome, FirstByte first_byte, int tries);

enum class ProbeResult : uint8_t { kUp, kDown };

class Health {
 public:
  static constexpr int kErrorsInARow = 5;
  static constexpr int kProbesDown = 3;
  static constexpr int kProbesUp = 2;
  static constexpr int64_t kProbeIntervalNs = 5'000'000'000;
  static constexpr int64_t kProbeIntervalDownNs = 1'000'000'000;
  static constexpr int64_t kProbeTimeoutNs = 5'000'000'000;
  static constexpr int64_t kEjectionNs = 30'000'000'000;
  static constexpr int64_t kEjectionMaxNs = 300'000'000'000;
  static constexpr int64_t kOutlierNs = 30'000'000'000;
  static constexpr double kOutlierRatio = 3.0;

  void on_outcome(UpstreamOutcome outcome, int64_t now_ns);
  void on_probe(ProbeResult result, int64_t now_ns);
  bool probe_due(int64_t now_ns) const { return now_ns >= next_probe_ns_.load(kRelaxed); }

  // Its TTFT beside the median of its pool, once a second (RoutingTable::sweep).
  void on_ttft(double ttft_ns, double pool_median_ns, int64_t now_ns);

  bool ejected(int64_t now_ns) const { return now_ns < ejected_until_ns_.load(kRelaxed); }
  bool probed_down() const { return probed_down_.load(kRelaxed); }
  bool out(int64_t now_ns) const { return probed_down() || ejected(now_ns); }
  int64_t out_since_ns() const { return out_since_ns_.load(kRelaxed); }
  int64_t ejected_until_ns() const { return ejected_until_ns_.load(kRelaxed); }
  int64_t ejections() const { return ejections_.load(kRelaxed); }

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  void eject(int64_t now_ns);
  void forgive(int64_t now_ns);

  std::atomic<int32_t> errors_in_a_row_ = 0;
  std::atomic<int32_t> probes_failed_ = 0;     // in a row
  std::atomic<int32_t> probes_succeeded_ = 0;  // in a row
  std::atomic<bool> probed_down_ = false;
  std::atomic<int64_t> next_probe_ns_ = 0;
  std::atomic<int64_t> ejected_until_ns_ = 0;
  std::atomic<int64_t> ejections_ = 0;      // forgotten one by one, each after a quiet kEjectionNs
  std::atomic<int64_t> quiet_from_ns_ = 0;  // since the last return or forgiveness
  std::atomic<int64_t> out_since_ns_ = 0;
  std::atomic<int64_t> outlier_since_ns_ = 0;  // 0: none
};

// How many of a pool's replicas may be out at once: half of up to four, a tenth of more, at
// least 1.
int64_t ejected_max(int64_t replicas);

// Which of a pool's replicas are to be left out, one flag each in `out` (1: left out): those whose
// probes fail, and up to ejected_max() of the ejected, the earliest first; none where that is all.
void select_out(std::span<const Health* const> pool, int64_t now_ns, std::span<uint8_t> out);

}  // namespace sluice::gateway
