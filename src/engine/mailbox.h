// What other threads have for the loop, bounded by the number of live requests: a request is in
// here at most once, and so is its end.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/request.h"
#include "engine/sequence.h"

namespace sluice::engine {

struct EndMessage {
  RequestId id;
  FinishReason reason = FinishReason::kCancelled;
};

enum class FlushCache : uint8_t { kNo, kYes };

struct Messages {
  std::vector<std::unique_ptr<Sequence>> arrivals;
  std::vector<EndMessage> ends;
  FlushCache flush = FlushCache::kNo;
};

class Mailbox {
 public:
  explicit Mailbox(int64_t live_max) : live_max_(live_max) {}

  // All or none. Gives them their order of arrival.
  Admission post(std::vector<std::unique_ptr<Sequence>> sequences);
  // Ignored unless `end.id` is live and has no end posted yet.
  void post(EndMessage end);
  void post(FlushCache flush);
  void drain();  // post() of sequences answers kDraining from now on
  void stop();   // and take() answers kStopped

  enum class Wait : uint8_t { kNo, kYes };
  enum class Taken : uint8_t { kMessages, kStopped };
  // Replaces `out` by what was posted; Wait::kYes sleeps until there is something.
  Taken take(Wait wait, Messages* out);

  // The loop: these have ended and their ids may come again.
  void retire(std::span<const FinishEvent> finished);

  int64_t live() const;
  bool draining() const;

 private:
  enum class State : uint8_t { kLive, kEndPosted };

  const int64_t live_max_;
  mutable std::mutex mutex_;
  std::condition_variable posted_;
  Messages messages_;
  std::unordered_map<uint64_t, State> live_;  // by request id
  int64_t arrivals_ = 0;
  bool draining_ = false;
  bool stopped_ = false;
};

}  // namespace sluice::engine
