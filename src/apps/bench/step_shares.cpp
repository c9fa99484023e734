#include "apps/bench/step_shares.h"

#include <algorithm>
#include <numeric>

namespace sluice::apps {

StepShares step_shares(const model::StepProfile& profile, double steps, double whole_us) {
  StepShares shares{.whole_us = whole_us};
  for (const model::StepTimes& times : profile.threads) {
    const auto mean_us = [&](int64_t ns) {
      return static_cast<double>(ns) * 1e-3 / steps / static_cast<double>(profile.threads.size());
    };
    shares.linear_us += mean_us(times.linear_ns);
    shares.attention_us += mean_us(times.attention_ns);
    shares.rows_us += mean_us(times.rows_ns);
    shares.waiting_us += mean_us(times.waiting_ns);
    shares.device_us += mean_us(times.device_ns);
  }
  for (size_t part = 0; part < shares.queue_us.size(); ++part)
    shares.queue_us[part] = static_cast<double>(profile.queue_ns[part]) * 1e-3 / steps;
  return shares;
}

double StepShares::queued_us() const {
  return std::accumulate(queue_us.begin(), queue_us.end(), 0.0);
}

std::string_view name_of(model::QueuePart part) {
  constexpr std::array<std::string_view, model::kQueueParts> kNames = {
      "products around attention",
      "attention",
      "dense ffn",
      "router",
      "shared experts",
      "routed experts",
      "routed experts over the link",
      "handing rows to the processor",
      "waiting for the processor",
      "sums over the cards",
      "output",
      "sampling"};
  return kNames[static_cast<size_t>(part)];
}

void ExpertCount::see(std::span<const int32_t> ids, size_t rows) {
  std::fill(is_chosen_.begin(), is_chosen_.end(), 0);
  for (const int32_t id : ids) is_chosen_[static_cast<size_t>(id)] = 1;
  distinct_ += std::count(is_chosen_.begin(), is_chosen_.end(), 1);
  of_a_row_ += static_cast<int64_t>(ids.size() / rows);
}

}  // namespace sluice::apps
