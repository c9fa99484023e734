#include "engine/speculation.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace sluice::engine {
namespace {

constexpr double kGainMin = 1.02;
constexpr int64_t kOldSteps = 64;      // until a width that is relied on is measured again
constexpr int64_t kStaleSteps = 1024;  // until a width that was found slow is tried again

}  // namespace

DraftSource source_of_match(int32_t matched_tokens) {
  if (matched_tokens >= 8) return DraftSource::kLongMatch;
  return matched_tokens >= 4 ? DraftSource::kMediumMatch : DraftSource::kShortMatch;
}

DraftKind kind_of(DraftSource source) {
  return source == DraftSource::kMtp ? DraftKind::kMtp : DraftKind::kNgram;
}

int32_t Acceptance::observe(const Draft& draft, std::span<const int32_t> tokens) {
  float& rate = rates_[static_cast<size_t>(draft.source)];
  const size_t count = std::min(draft.all().size(), tokens.size());
  for (size_t i = 0; i < count; ++i) {
    const bool right = draft.ids[i] == tokens[i];
    rate += weight_ * ((right ? 1.0f : 0.0f) - rate);
    if (!right) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(count);
}

void StepTimes::add(int64_t rows, int64_t step_ns) {
  constexpr double kWeight = 0.15;
  constexpr double kOutlier = 1.5;  // what a machine with other work adds counts little
  ++steps_;
  if (rows > rows_max()) return;
  Entry& e = entries_[static_cast<size_t>(rows)];
  if (!std::exchange(e.was_seen, true) && first_ == First::kIsLonger) return;
  const auto ns = static_cast<double>(step_ns);
  e.ns = is_known(rows) ? e.ns + kWeight * (std::min(ns, kOutlier * e.ns) - e.ns) : ns;
  e.measured_at = steps_;
}

bool StepTimes::is_known(int64_t rows) const {
  const Entry& e = entries_[static_cast<size_t>(rows)];
  return e.measured_at >= 0 && steps_ - e.measured_at < kStaleSteps;
}

bool StepTimes::is_old(int64_t rows) const {
  const Entry& e = entries_[static_cast<size_t>(rows)];
  return e.measured_at < 0 || steps_ - e.measured_at >= kOldSteps;
}

double StepTimes::of(int64_t rows) const {
  ASSERT(rows >= 1 && rows <= rows_max(), "{} rows of {}", rows, rows_max());
  // A row more costs little until the contrary is seen.
  constexpr double kRowShare = 1.0 / 32;
  int64_t below = rows;
  while (below > 0 && !is_known(below)) --below;
  int64_t above = rows;
  while (above <= rows_max() && !is_known(above)) ++above;
  const auto ns = [&](int64_t r) { return entries_[static_cast<size_t>(r)].ns; };
  if (below == 0) return above > rows_max() ? 0 : ns(above);
  if (above > rows_max()) return ns(below) * (1 + kRowShare * static_cast<double>(rows - below));
  if (below == above) return ns(rows);
  const double part = static_cast<double>(rows - below) / static_cast<double>(above - below);
  return ns(below) + part * (ns(above) - ns(below));
}

void choose_drafts(const DraftStep& step, std::span<DraftOffer> offers) {
  const StepTimes& times = step.times;
  const int64_t sequences = step.sequences;
  if (sequences > times.rows_max() || times.is_old(sequences)) return;
  const double plain_ns = times.of(sequences) + step.keys_ns;
  std::array<size_t, kDraftRowsMax> order;  // whose token each further row verifies
  int64_t best = 0;
  int64_t passes = 0;  // that guess
  auto tokens = static_cast<double>(sequences);
  double best_speed = kGainMin * tokens / plain_ns;
  const int64_t rows_max = std::min<int64_t>(kDraftRowsMax, times.rows_max() - sequences);
  const auto gain = [](const DraftOffer& o) {
    return o.wanted < o.tokens ? o.reach * o.rate : 0.0;
  };
  for (int64_t rows = 1; rows <= rows_max; ++rows) {
    const auto likeliest = std::max_element(
        offers.begin(), offers.end(),
        [&](const DraftOffer& a, const DraftOffer& b) { return gain(a) < gain(b); });
    if (likeliest == offers.end() || gain(*likeliest) <= 0) break;
    ++likeliest->wanted;
    if (likeliest->kind == DraftKind::kMtp) passes = std::max<int64_t>(passes, likeliest->wanted);
    likeliest->reach *= likeliest->rate;
    tokens += likeliest->reach;
    order[static_cast<size_t>(rows - 1)] = static_cast<size_t>(likeliest - offers.begin());
    const double step_ns = times.of(sequences + rows) +
                           (passes > 0 ? step.pass_ns * static_cast<double>(passes) : step.keys_ns);
    if (tokens / step_ns <= best_speed) continue;
    best_speed = tokens / step_ns;
    best = rows;
  }
  for (DraftOffer& offer : offers) offer.wanted = 0;
  for (int64_t row = 0; row < best; ++row) ++offers[order[static_cast<size_t>(row)]].wanted;
}

void DraftLayerUse::add_step(double saved_ns, double spent_ns) {
  constexpr int64_t kWatchedSteps = 64;
  constexpr int64_t kRestSteps = 4096;
  if (rest_steps_ > 0) {
    --rest_steps_;
    return;
  }
  saved_ns_ += saved_ns;
  spent_ns_ += spent_ns;
  if (++steps_ < kWatchedSteps) return;
  if (spent_ns_ > saved_ns_) rest_steps_ = kRestSteps;
  saved_ns_ = spent_ns_ = 0;
  steps_ = 0;
}

}  // namespace sluice::engine
