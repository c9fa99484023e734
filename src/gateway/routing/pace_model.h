// What a token costs at a replica, learnt from the streams that ended there. While a stream runs,
// its engine makes its tokens, those of all others, and computes prompts:
//
//   time of a stream = its tokens · step + tokens of all · stream + prompt tokens of all · prompt
//
// The three begin as the replica's Speed says. Each ended stream moves them in the proportion in
// which they made up its time, so that what a workload never varies keeps its split (normalized
// least mean squares; Widrow and Stearns, Adaptive Signal Processing, 1985). Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "contract/snapshot.h"

namespace sluice::gateway {

struct Pace {
  double step_ns = 0.0;          // a step, for each stream in it
  double stream_ns = 0.0;        // more for each stream
  double prompt_token_ns = 0.0;  // more for each prompt token
};

// What a replica did while one stream ran there, from its first token to its last.
struct StreamWork {
  int64_t took_ns = 0;
  int64_t tokens = 0;                // of the stream
  int64_t tokens_of_all = 0;         // of all streams, this one included
  int64_t prompt_tokens_of_all = 0;  // of those whose first token came in that time
};

class PaceModel {
 public:
  static constexpr int64_t kTokensMin = 8;  // a shorter stream says nothing

  explicit PaceModel(const contract::Speed& speed);
  void learn(const StreamWork& work);
  void forget();  // back to Speed
  Pace pace() const;

 private:
  const Pace told_;
  std::array<std::atomic<double>, 3> ratios_;  // learnt ÷ told, of step, stream, prompt token
};

}  // namespace sluice::gateway
