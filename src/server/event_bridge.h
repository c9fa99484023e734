// Carries the engine's events from its loop thread to the event loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/request.h"
#include "net/event_loop.h"

namespace sluice::server {

// The events of one or more steps, owned. Of one request: prompt tokens before tokens before its
// end, each kind in the order in which it came.
struct EventBatch {
  struct Token {
    engine::TokenEvent event;  // its `top` is empty: see here
    std::vector<engine::TokenLogprob> top;
  };
  struct PromptToken {
    engine::PromptTokenEvent event;  // its `top` is empty: see here
    std::vector<engine::TokenLogprob> top;
  };
  std::vector<PromptToken> prompt_tokens;
  std::vector<Token> tokens;
  std::vector<engine::FinishEvent> finished;
};

// A step posts at most one message, and none while the last one has not been taken: a receiver that
// is behind gets the events of several steps at once. What waits is bounded by the tokens that the
// live requests may still make.
class EventBridge {
 public:
  using Receiver = std::function<void(const EventBatch&)>;

  // The loop must not run any more when the bridge goes.
  explicit EventBridge(net::EventLoop& loop) : loop_(loop) {}
  EventBridge(const EventBridge&) = delete;
  EventBridge& operator=(const EventBridge&) = delete;

  // Before the first event. It is called on the event loop's thread.
  void set_receiver(Receiver receiver) { receiver_ = std::move(receiver); }

  // The engine's sink.
  void on_step(const engine::StepEvents& events);

 private:
  void deliver();

  net::EventLoop& loop_;
  Receiver receiver_;
  std::mutex mutex_;
  EventBatch pending_;   // under mutex_
  bool posted_ = false;  // under mutex_
};

}  // namespace sluice::server
