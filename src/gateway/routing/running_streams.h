// The streams that run at one replica, as this gateway sees them: how long each has run, how far it
// has come, and what pace it was promised. Any thread; none waits. Who looks while others come and
// go may see one stream half old, half new, which a forecast over all of them survives.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace sluice::gateway {

// A limit on the time per token; what missing it counts, in units of what its statistic allows.
struct PacePromise {
  float tpot_limit_ns = 0.0F;  // 0: nothing is promised
  float miss_weight = 0.0F;
};

struct RunningStream {
  double since_first_ns = 0.0;  // since its first token; 0: none yet
  double tokens = 0.0;
  PacePromise promise = {};
};

class RunningStreams {
 public:
  static constexpr int32_t kPlaces = 512;  // further streams run unseen
  static constexpr int32_t kNowhere = -1;

  int32_t enter(const PacePromise& promise);  // a place, or kNowhere
  void first_token(int32_t place, int64_t now_ns);
  void tokens(int32_t place, int64_t tokens);
  void leave(int32_t place);

  // Up to streams.size() of them, evenly drawn where there are more. How many.
  size_t look(int64_t now_ns, std::span<RunningStream> streams) const;

 private:
  static constexpr int64_t kFree = 0;
  static constexpr int64_t kNoTokenYet = -1;
  struct Place {
    std::atomic<int64_t> first_token_ns = kFree;
    std::atomic<int32_t> tokens = 0;
    std::atomic<PacePromise> promise = PacePromise{};
  };

  std::array<Place, kPlaces> places_;
  std::atomic<int32_t> taken_ = 0;
  std::atomic<uint32_t> next_ = 0;  // where the search for a free place begins
};

}  // namespace sluice::gateway
