#include "server/activity.h"

#include <numeric>

#include <fmt/format.h>

namespace sluice::server {
namespace {

int64_t ended(const engine::EngineStats& stats) {
  return std::accumulate(stats.finished.begin(), stats.finished.end(), int64_t{0});
}

}  // namespace

std::string activity_line(const engine::EngineStats& before, const engine::EngineStats& now,
                          int64_t interval_ns) {
  if (now.steps == before.steps) return {};
  const double seconds = static_cast<double>(interval_ns) * 1e-9;
  const double busy = now.step_s - before.step_s;
  const double computed = now.iteration_tokens.sum() - before.iteration_tokens.sum();
  const auto generated = static_cast<double>(now.generation_tokens - before.generation_tokens);
  std::string line = fmt::format(
      "last {:.0f} s: {} requests ended, {:.0f} tokens/s computed, {:.0f} tokens/s generated, {} "
      "running, {} waiting, computing {:.0f} % of the time",
      seconds, ended(now) - ended(before), computed / seconds, generated / seconds, now.running,
      now.waiting, 100 * busy / seconds);
  if (busy > 0 && now.step_limit_s > 0)
    line += fmt::format(", {:.0f} % of the machine's limit",
                        100 * (now.step_limit_s - before.step_limit_s) / busy);
  return line;
}

}  // namespace sluice::server
