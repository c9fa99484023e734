// What one more stream does to the pace of those that run at a replica, and theirs to its own. The
// streams are run ahead together: each ends when answers of its length end, the fewer run the
// faster they are, and prompts that are queued hold all of them up once. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "gateway/limits/output_estimate.h"
#include "gateway/routing/pace_model.h"
#include "gateway/routing/running_streams.h"

namespace sluice::gateway {

// How many answers go on beyond a number of tokens, from those that ended.
class LengthCurve {
 public:
  explicit LengthCurve(const OutputHistogram& lengths);
  bool known() const { return beyond_[0] >= OutputHistogram::kSamplesMin; }
  double beyond(double tokens) const;

 private:
  std::array<double, OutputHistogram::kBuckets + 1> beyond_;  // as long as a bucket's shortest
};

struct Forecast {
  static constexpr size_t kStreamsMax = 128;

  Pace pace = {};
  const LengthCurve* lengths = nullptr;         // known
  std::span<const RunningStream> streams = {};  // at most kStreamsMax
  double streams_each = 1.0;                    // how many each of them stands for
  double queued_prompt_tokens = 0.0;            // before the newcomer's
  double prompt_tokens = 0.0;                   // of the newcomer, to be computed
  PacePromise promise = {};                     // to the newcomer
};

// The broken promises to be expected if the newcomer comes, less those if it does not, each in
// units of what its statistic allows. At most 1: as many as the statistics allow.
double misses_added(const Forecast& forecast);

}  // namespace sluice::gateway
