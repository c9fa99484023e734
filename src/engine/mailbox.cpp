#include "engine/mailbox.h"

#include <utility>

#include "core/assert.h"

namespace sluice::engine {

Admission Mailbox::post(std::vector<std::unique_ptr<Sequence>> sequences) {
  std::lock_guard lock(mutex_);
  if (draining_) return Admission::kDraining;
  if (static_cast<int64_t>(live_.size() + sequences.size()) > live_max_)
    return Admission::kQueueFull;
  for (std::unique_ptr<Sequence>& s : sequences) {
    const bool fresh = live_.emplace(s->id.value, State::kLive).second;
    ASSERT(fresh, "request {} is live already", s->id.value);
    s->arrival = arrivals_++;
    messages_.arrivals.push_back(std::move(s));
  }
  posted_.notify_one();
  return Admission::kAccepted;
}

void Mailbox::post(EndMessage end) {
  std::lock_guard lock(mutex_);
  const auto found = live_.find(end.id.value);
  if (found == live_.end() || found->second == State::kEndPosted) return;
  found->second = State::kEndPosted;
  messages_.ends.push_back(end);
  posted_.notify_one();
}

void Mailbox::post(FlushCache flush) {
  std::lock_guard lock(mutex_);
  messages_.flush = flush;
  posted_.notify_one();
}

void Mailbox::drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

void Mailbox::stop() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  stopped_ = true;
  posted_.notify_one();
}

Mailbox::Taken Mailbox::take(Wait wait, Messages* out) {
  out->arrivals.clear();
  out->ends.clear();
  out->flush = FlushCache::kNo;
  std::unique_lock lock(mutex_);
  const auto anything = [&] {
    return stopped_ || !messages_.arrivals.empty() || !messages_.ends.empty() ||
           messages_.flush == FlushCache::kYes;
  };
  if (wait == Wait::kYes) posted_.wait(lock, anything);
  std::swap(*out, messages_);
  return stopped_ ? Taken::kStopped : Taken::kMessages;
}

void Mailbox::retire(std::span<const FinishEvent> finished) {
  if (finished.empty()) return;
  std::lock_guard lock(mutex_);
  for (const FinishEvent& f : finished) live_.erase(f.id.value);
}

int64_t Mailbox::live() const {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(live_.size());
}

bool Mailbox::draining() const {
  std::lock_guard lock(mutex_);
  return draining_;
}

}  // namespace sluice::engine
