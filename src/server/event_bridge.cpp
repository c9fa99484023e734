#include "server/event_bridge.h"

#include <utility>

namespace sluice::server {

void EventBridge::on_step(const engine::StepEvents& events) {
  if (events.prompt_tokens.empty() && events.tokens.empty() && events.finished.empty()) return;
  std::lock_guard lock(mutex_);
  for (const engine::PromptTokenEvent& event : events.prompt_tokens) {
    pending_.prompt_tokens.push_back({event, {event.top.begin(), event.top.end()}});
    pending_.prompt_tokens.back().event.top = {};
  }
  for (const engine::TokenEvent& event : events.tokens) {
    pending_.tokens.push_back({event, {event.top.begin(), event.top.end()}});
    pending_.tokens.back().event.top = {};
  }
  pending_.finished.insert(pending_.finished.end(), events.finished.begin(), events.finished.end());
  if (std::exchange(posted_, true)) return;
  loop_.post([this] { deliver(); });
}

void EventBridge::deliver() {
  EventBatch batch;
  {
    std::lock_guard lock(mutex_);
    batch = std::exchange(pending_, {});
    posted_ = false;
  }
  receiver_(batch);
}

}  // namespace sluice::server
