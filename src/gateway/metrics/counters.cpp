#include "gateway/metrics/counters.h"

#include <algorithm>

namespace sluice::gateway {

void DurationHistogram::record_ns(int64_t duration_ns) {
  const double duration_s = static_cast<double>(duration_ns) * 1e-9;
  const auto bound =
      std::lower_bound(kDurationBounds_s.begin(), kDurationBounds_s.end(), duration_s);
  counts_[static_cast<size_t>(bound - kDurationBounds_s.begin())].add();
  sum_ns_.add(duration_ns);
}

void DurationHistogram::add_to(std::array<int64_t, kDurationBounds_s.size() + 1>* counts,
                               int64_t* sum_ns) const {
  for (size_t i = 0; i < counts_.size(); ++i) (*counts)[i] += counts_[i].value();
  *sum_ns += sum_ns_.value();
}

ModelMetrics& LoopMetrics::model(std::string_view id) {
  if (const auto found = models_.find(id); found != models_.end()) return *found->second;
  if (models_.size() >= kModelsMax) id = "other";
  std::lock_guard lock(mutex_);
  auto& place = models_[std::string(id)];
  if (place == nullptr) place = std::make_unique<ModelMetrics>();
  return *place;
}

void LoopMetrics::count(const contract::UsageEvent& event) {
  ModelMetrics& metrics = model(event.model);
  metrics.requests[static_cast<size_t>(event.outcome)].add();
  metrics.decisions[static_cast<size_t>(event.decision)].add();
  if (!event.target_met) metrics.target_missed.add();
  for (const contract::UsageLine& line : event.lines) {
    metrics.quantities[static_cast<size_t>(line.unit)].add(line.quantity);
    metrics.amount_nano.add(line.amount.nano);
    metrics.cost_nano.add(line.cost.nano);
  }
  if (event.ttft_ns > 0) metrics.ttft.record_ns(event.ttft_ns);
  if (event.tpot_ns > 0) metrics.tpot.record_ns(event.tpot_ns);
  metrics.total.record_ns(event.total_ns);
}

}  // namespace sluice::gateway
