#include "gateway/routing/fair_queue.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace sluice::gateway {
namespace {

int64_t deadline_or_never(const WaitingRequest& request) {
  return request.deadline_ns == 0 ? std::numeric_limits<int64_t>::max() : request.deadline_ns;
}

}  // namespace

FairQueue::FairQueue(int64_t requests_max) : requests_max_(requests_max) {}

bool FairQueue::push(WaitingRequest request) {
  if (size_ >= requests_max_) return false;
  Tenant& tenant = tenants_[request.tenant];
  if (tenant.waiting.empty()) lift(&tenant);
  tenant.waiting.push_back({std::move(request), arrivals_++});
  ++size_;
  return true;
}

// Who comes back has not saved up what it did not use while it was away.
void FairQueue::lift(Tenant* returning) {
  double least = std::numeric_limits<double>::max();
  for (const auto& [id, tenant] : tenants_)
    if (!tenant.waiting.empty()) least = std::min(least, tenant.served);
  if (least != std::numeric_limits<double>::max())
    returning->served = std::max(returning->served, least);
}

std::optional<FairQueue::Place> FairQueue::first_place() const {
  using Rank = std::tuple<int32_t, double, int64_t, int64_t>;
  std::optional<Rank> best;
  Place place;
  for (const auto& [id, tenant] : tenants_) {
    for (size_t i = 0; i < tenant.waiting.size(); ++i) {
      const Waiting& waiting = tenant.waiting[i];
      const Rank rank(-waiting.request.priority, tenant.served, deadline_or_never(waiting.request),
                      waiting.arrival);
      if (best && rank >= *best) continue;
      best = rank;
      place = {id, i};
    }
  }
  return best ? std::optional(place) : std::nullopt;
}

const WaitingRequest* FairQueue::first() const {
  const auto place = first_place();
  return place ? &tenants_.at(place->tenant).waiting[place->index].request : nullptr;
}

std::optional<WaitingRequest> FairQueue::pop() {
  const auto place = first_place();
  if (!place) return std::nullopt;
  return take(&tenants_.at(place->tenant), place->index);
}

WaitingRequest FairQueue::take(Tenant* tenant, size_t index) {
  WaitingRequest request = std::move(tenant->waiting[index].request);
  tenant->waiting.erase(tenant->waiting.begin() + static_cast<ptrdiff_t>(index));
  --size_;
  return request;
}

bool FairQueue::remove(uint64_t handle) {
  for (auto& [id, tenant] : tenants_) {
    const auto found = std::ranges::find(tenant.waiting, handle,
                                         [](const Waiting& w) { return w.request.handle; });
    if (found == tenant.waiting.end()) continue;
    take(&tenant, static_cast<size_t>(found - tenant.waiting.begin()));
    return true;
  }
  return false;
}

std::vector<WaitingRequest> FairQueue::expire(int64_t now_ns) {
  std::vector<WaitingRequest> expired;
  for (auto& [id, tenant] : tenants_) {
    for (size_t i = tenant.waiting.size(); i-- > 0;)
      if (deadline_or_never(tenant.waiting[i].request) <= now_ns)
        expired.push_back(take(&tenant, i));
  }
  return expired;
}

void FairQueue::charge(const std::string& tenant, const Served& served) {
  tenants_[tenant].served += kPromptWeight * static_cast<double>(served.prompt_tokens) +
                             kCachedWeight * static_cast<double>(served.cached_tokens) +
                             kOutputWeight * static_cast<double>(served.output_tokens);
}

}  // namespace sluice::gateway
