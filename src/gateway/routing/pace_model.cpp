#include "gateway/routing/pace_model.h"

#include <algorithm>

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr double kStep = 0.05;  // of an error that one stream corrects
constexpr double kRatioMin = 0.01;
constexpr double kRatioMax = 100.0;

Pace pace_of(const contract::Speed& speed) {
  const double step_ns = 1e9 / std::max(speed.decode_tokens_per_s, 1e-3);
  const auto places = static_cast<double>(std::max<int64_t>(speed.streams_max, 1));
  const double full_ns = 1e9 * places / std::max(speed.decode_tokens_per_s_max, 1e-3);
  return {.step_ns = step_ns,
          .stream_ns = places > 1.0 ? std::max(0.0, (full_ns - step_ns) / (places - 1.0)) : 0.0,
          .prompt_token_ns = 1e9 / std::max(speed.prefill_tokens_per_s, 1e-3)};
}

}  // namespace

PaceModel::PaceModel(const contract::Speed& speed) : told_(pace_of(speed)) {
  forget();
}

void PaceModel::learn(const StreamWork& work) {
  if (work.tokens < kTokensMin || work.took_ns <= 0) return;
  const std::array<double, 3> told_ns = {
      told_.step_ns * static_cast<double>(work.tokens),
      told_.stream_ns * static_cast<double>(work.tokens_of_all),
      told_.prompt_token_ns * static_cast<double>(work.prompt_tokens_of_all)};
  double error_ns = static_cast<double>(work.took_ns);
  double square = 0.0;
  for (size_t i = 0; i < told_ns.size(); ++i) {
    error_ns -= told_ns[i] * ratios_[i].load(kRelaxed);
    square += told_ns[i] * told_ns[i];
  }
  // Two threads that learn at once may lose one's step; the next stream makes up for it.
  for (size_t i = 0; i < told_ns.size(); ++i) {
    const double ratio = ratios_[i].load(kRelaxed) + kStep * error_ns * told_ns[i] / square;
    ratios_[i].store(std::clamp(ratio, kRatioMin, kRatioMax), kRelaxed);
  }
}

void PaceModel::forget() {
  for (auto& ratio : ratios_) ratio.store(1.0, kRelaxed);
}

Pace PaceModel::pace() const {
  return {.step_ns = told_.step_ns * ratios_[0].load(kRelaxed),
          .stream_ns = told_.stream_ns * ratios_[1].load(kRelaxed),
          .prompt_token_ns = told_.prompt_token_ns * ratios_[2].load(kRelaxed)};
}

}  // namespace sluice::gateway
