// Sampling of the reference device: the kept tokens sorted, then one after the other.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels::ref {
namespace {

struct Candidate {
  int32_t id = 0;
  float logit = 0;
  double weight = 0;
};

// What may be chosen, best first.
std::vector<Candidate> candidates_of(const float* row, int64_t columns, const SampleRow& how) {
  std::vector<Candidate> candidates;
  for (int32_t id = 0; id < columns; ++id) {
    const auto* end = how.masked_ids + how.masked_count;
    if (std::find(how.masked_ids, end, id) == end) candidates.push_back({id, row[id]});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  return candidates;
}

double sum_of(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

// Leaves what top_k, min_p and top_p keep, with weights relative to the best one's.
void cut_off(const SampleRow& how, std::vector<Candidate>* candidates) {
  if (how.top_k > 0 && how.top_k < std::ssize(*candidates))
    candidates->resize(static_cast<size_t>(how.top_k));
  const float best = candidates->front().logit;
  for (Candidate& c : *candidates) {
    const float share = std::exp((c.logit - best) / how.temperature);
    c.weight = share >= how.min_p ? double{share} : 0;
  }
  std::erase_if(*candidates, [](const Candidate& c) { return c.weight == 0; });
  if (how.top_p >= 1) return;
  const double wanted = double{how.top_p} * sum_of(*candidates);
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates->size() && (kept == 0 || sum < wanted))
    sum += (*candidates)[kept++].weight;
  candidates->resize(kept);
}

int32_t sampled_id(const float* row, int64_t columns, const SampleRow& how) {
  const bool finite =
      std::all_of(row, row + columns, [](float logit) { return std::isfinite(logit); });
  if (!finite) return kRowNotFinite;
  std::vector<Candidate> candidates = candidates_of(row, columns, how);
  if (candidates.empty()) return kRowAllMasked;
  if (how.temperature < kGreedyTemperature) return candidates.front().id;
  cut_off(how, &candidates);
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  double left = how.unit * sum_of(candidates);
  for (const Candidate& c : candidates)
    if ((left -= c.weight) < 0) return c.id;
  return candidates.back().id;
}

}  // namespace

void device_sample(const DeviceSampleArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r)
    args.ids[r] = sampled_id(args.logits + r * args.stride, args.columns,
                             args.how != nullptr ? args.how[r] : SampleRow{});
}

}  // namespace sluice::kernels::ref
