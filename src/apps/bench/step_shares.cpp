#include "apps/bench/step_shares.h"

#include <algorithm>

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
  return shares;
}

void ExpertCount::see(std::span<const int32_t> ids, size_t rows) {
  std::fill(is_chosen_.begin(), is_chosen_.end(), 0);
  for (const int32_t id : ids) is_chosen_[static_cast<size_t>(id)] = 1;
  distinct_ += std::count(is_chosen_.begin(), is_chosen_.end(), 1);
  of_a_row_ += static_cast<int64_t>(ids.size() / rows);
}

}  // namespace sluice::apps
