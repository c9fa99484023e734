#include "gateway/routing/fair_queue.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "core/assert.h"

namespace sluice::gateway {
namespace {

int64_t deadline_or_never(const WaitingRequest& request) {
  return request.deadline_ns == 0 ? std::numeric_limits<int64_t>::max() : request.deadline_ns;
}

}  // namespace

FairQueue::FairQueue(int64_t requests_max) : requests_max_(requests_max) {}

bool FairQueue::push(WaitingRequest request) {
  if (size_ >= requests_max_) return false;
  Key& key = key_of(request.key);
  if (key.waiting.empty()) lift(&key);
  key.waiting.push_back({std::move(request), arrivals_++});
  ++size_;
  return true;
}

// Who comes back has not saved up what it did not use while it was away.
void FairQueue::lift(Key* returning) {
  double least = std::numeric_limits<double>::max();
  for (const auto& [id, key] : keys_)
    if (!key.waiting.empty()) least = std::min(least, key.served);
  if (least != std::numeric_limits<double>::max())
    returning->served = std::max(returning->served, least);
}

FairQueue::Key& FairQueue::key_of(std::string_view id) {
  const auto found = keys_.find(id);
  if (found != keys_.end()) return found->second;
  if (keys_.size() >= kIdleKeysMax + static_cast<size_t>(requests_max_)) forget_idle();
  return keys_.emplace(id, Key()).first->second;
}

void FairQueue::forget_idle() {
  std::erase_if(keys_, [](const auto& entry) { return entry.second.waiting.empty(); });
}

std::optional<FairQueue::Place> FairQueue::first_place(std::span<const std::string> busy) const {
  using Rank = std::tuple<int32_t, double, int64_t, int64_t>;
  std::optional<Rank> best;
  Place place;
  for (const auto& [id, key] : keys_) {
    for (size_t i = 0; i < key.waiting.size(); ++i) {
      const Waiting& waiting = key.waiting[i];
      if (std::ranges::find(busy, waiting.request.model) != busy.end()) continue;
      const Rank rank(-waiting.request.priority, key.served, deadline_or_never(waiting.request),
                      waiting.arrival);
      if (best && rank >= *best) continue;
      best = rank;
      place = {id, i};
    }
  }
  return best ? std::optional(place) : std::nullopt;
}

const WaitingRequest* FairQueue::first(std::span<const std::string> busy) const {
  const auto place = first_place(busy);
  return place ? &keys_.find(place->key)->second.waiting[place->index].request : nullptr;
}

std::optional<WaitingRequest> FairQueue::pop() {
  const auto place = first_place({});
  if (!place) return std::nullopt;
  return take(&keys_.find(place->key)->second, place->index);
}

WaitingRequest FairQueue::take(Key* key, size_t index) {
  WaitingRequest request = std::move(key->waiting[index].request);
  key->waiting.erase(key->waiting.begin() + static_cast<ptrdiff_t>(index));
  --size_;
  return request;
}

bool FairQueue::remove(uint64_t handle) {
  for (auto& [id, key] : keys_) {
    const auto found =
        std::ranges::find(key.waiting, handle, [](const Waiting& w) { return w.request.handle; });
    if (found == key.waiting.end()) continue;
    take(&key, static_cast<size_t>(found - key.waiting.begin()));
    return true;
  }
  return false;
}

void FairQueue::charge(std::string_view key, const Served& served) {
  ASSERT(served.share >= 1, "a share of {}", served.share);
  const double tokens = kPromptWeight * static_cast<double>(served.prompt_tokens) +
                        kCachedWeight * static_cast<double>(served.cached_tokens) +
                        kOutputWeight * static_cast<double>(served.output_tokens);
  key_of(key).served += tokens / served.share;
}

}  // namespace sluice::gateway
