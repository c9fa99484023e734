#include "schedule/plan_step.h"

#include <algorithm>

#include "core/assert.h"
#include "core/math.h"

namespace sluice::schedule {
namespace {

bool is_decode(const SequenceState& s) {
  return s.missing() == 1 && s.rows == LogitRows::kLast;
}

// One call of plan_step(): what is left of the budget, and who got what.
class Planner {
 public:
  Planner(const StepInput& input, StepPlan* plan)
      : input_(input), plan_(*plan), left_(input.budget) {
    plan_.running.clear();
    plan_.admitted.clear();
    plan_.preempt.reset();
  }

  void plan() {
    if (!plan_decodes()) return;
    limit_device_time();
    if (!plan_prefills()) return;
    if (!page_wait_) admit();
    plan_drafts();
  }

 private:
  int64_t running() const { return static_cast<int64_t>(input_.running.size()); }
  const SequenceState& running(int64_t i) const { return input_.running[static_cast<size_t>(i)]; }
  int64_t pages_for(int64_t tokens) const {
    return core::div_ceil(tokens, input_.limits.page_tokens);
  }

  // False: pages ran out and plan_.preempt says who gives his up.
  bool plan_decodes() {
    for (int64_t i = 0; i < running(); ++i)
      if (is_decode(running(i)) && !plan_running(i, 1)) return false;
    return true;
  }

  // With decodes in the step, prefills may use the rest of the time that a token may take: as many
  // tokens as the speed surface, measured over the steps before, has behind the decodes.
  void limit_device_time() {
    prefill_limited_ = left_.device_ns > 0.0 && !plan_.running.empty();
    if (!prefill_limited_) return;
    for (const PlannedPart& p : plan_.running)
      add(p.tokens, running(p.index).computed_tokens, &planned_);
  }

  static void add(int64_t tokens, int64_t before, StepSize* size) {
    size->tokens += tokens;
    size->context += context_of(tokens, before);
  }

  // How many of `most` tokens after `before` earlier ones the step's time has room for.
  int64_t affordable(int64_t most, int64_t before) const {
    int64_t fits = 0;
    for (int64_t too_many = most + 1; too_many - fits > 1;) {
      const int64_t n = fits + (too_many - fits) / 2;
      StepSize size = planned_;
      add(n, before, &size);
      (input_.cost.of(size) <= left_.device_ns ? fits : too_many) = n;
    }
    return fits;
  }

  bool plan_prefills() {
    for (int64_t i = 0; i < running(); ++i)
      if (!is_decode(running(i)) && !plan_running(i, chunk(running(i)))) return false;
    return true;
  }

  // How much of `s` the tokens, rows and time that are left allow.
  int64_t chunk(const SequenceState& s) const {
    int64_t n = std::min({s.missing(), input_.limits.chunk_tokens_max, left_.tokens});
    if (prefill_limited_)
      n = std::min(n, std::max(affordable(n, s.computed_tokens),
                               input_.limits.prefill_tokens_min - prefill_tokens_));
    if (s.rows == LogitRows::kAll) return std::min(n, left_.logit_rows);
    if (n == s.missing() && left_.logit_rows == 0) --n;  // the last token needs a row
    return n;
  }

  // Gives running sequence i up to `tokens`, as far as pages reach. False: see plan_.preempt.
  bool plan_running(int64_t i, int64_t tokens) {
    if (tokens <= 0) return true;
    const SequenceState& s = running(i);
    const int64_t room = (s.pages + left_.pages) * input_.limits.page_tokens - s.computed_tokens;
    const int64_t n = std::min(tokens, room);
    if (n <= 0) {
      page_wait_ = true;
      if (i + 1 == running()) return true;  // the youngest waits for pages
      plan_.running.clear();
      plan_.preempt = running() - 1;
      return false;
    }
    if (n < tokens) page_wait_ = true;
    plan_.running.push_back({.index = i, .tokens = n});
    spend(s, n, pages_for(s.computed_tokens + n) - s.pages);
    return true;
  }

  void spend(const SequenceState& s, int64_t tokens, int64_t pages) {
    left_.tokens -= tokens;
    left_.pages -= std::max<int64_t>(pages, 0);
    if (s.rows == LogitRows::kAll)
      left_.logit_rows -= tokens;
    else if (tokens == s.missing())
      left_.logit_rows -= 1;
    if (!prefill_limited_) return;
    prefill_tokens_ += tokens;
    add(tokens, s.computed_tokens, &planned_);
  }

  void admit() {
    int64_t places = input_.limits.sequences_max - running();
    int64_t reserved = reserved_pages();
    for (size_t i = 0; i < input_.waiting.size() && places > 0; ++i, --places) {
      SequenceState& s = input_.waiting[i];
      if (input_.look_up) input_.look_up(static_cast<int64_t>(i), &s);
      if (follows_another(s)) continue;  // its place stays free
      // Alone a sequence always fits; beside others it needs room for the next token too. Cached
      // pages that it takes leave the available ones.
      const int64_t growth = running() > 0 || !plan_.admitted.empty() ? 1 : 0;
      const int64_t whole = pages_for(s.known_tokens + growth) - s.pages + s.idle_pages;
      if (whole > left_.pages - reserved) return;
      const int64_t n = chunk(s);
      if (n <= 0) return;
      const int64_t pages =
          std::max<int64_t>(pages_for(s.computed_tokens + n) - s.pages, 0) + s.idle_pages;
      plan_.admitted.push_back({.index = static_cast<int64_t>(i), .tokens = n});
      spend(s, n, pages);
      reserved += whole - pages;
    }
  }

  void plan_drafts() {
    const auto decodes = [&](const PlannedPart& p) { return is_decode(running(p.index)); };
    if (!plan_.admitted.empty() ||
        !std::all_of(plan_.running.begin(), plan_.running.end(), decodes))
      return;
    int64_t pages = std::max<int64_t>(left_.pages - reserved_pages(), 0);
    for (PlannedPart& p : plan_.running) {
      const SequenceState& s = running(p.index);
      const int64_t end = s.computed_tokens + p.tokens;
      const int64_t held = std::max(s.pages, pages_for(end));
      const int64_t room = (held + pages) * input_.limits.page_tokens - end;
      p.drafts = std::min({s.drafts, left_.tokens, left_.logit_rows, room});
      left_.tokens -= p.drafts;
      left_.logit_rows -= p.drafts;
      pages -= std::max<int64_t>(pages_for(end + p.drafts) - held, 0);
    }
  }

  // Pages that the running sequences need for their known tokens beyond this step, and one of
  // growth for each.
  int64_t reserved_pages() const {
    int64_t reserved = running();
    for (const SequenceState& s : input_.running)
      reserved += std::max<int64_t>(pages_for(s.known_tokens) - s.pages, 0);
    for (const PlannedPart& p : plan_.running) {
      const SequenceState& s = running(p.index);
      reserved -= std::max<int64_t>(pages_for(s.computed_tokens + p.tokens) - s.pages, 0);
    }
    return reserved;
  }

  // Whether an older sequence, running or admitted just now, is about to compute the next page of
  // the waiting sequence `s`.
  bool follows_another(const SequenceState& s) const {
    if (s.rows == LogitRows::kAll) return false;  // it does not use cached pages
    const int64_t page = s.pages;
    if ((page + 1) * input_.limits.page_tokens >= s.known_tokens) return false;
    const auto computes_it = [&](const SequenceState& other) {
      const auto p = static_cast<size_t>(page);
      return other.rank < s.rank && p < other.page_hashes.size() &&
             other.computed_tokens < (page + 1) * input_.limits.page_tokens &&
             other.page_hashes[p] == s.page_hashes[p];
    };
    return std::any_of(input_.running.begin(), input_.running.end(), computes_it) ||
           std::any_of(plan_.admitted.begin(), plan_.admitted.end(), [&](const PlannedPart& p) {
             return computes_it(input_.waiting[static_cast<size_t>(p.index)]);
           });
  }

  const StepInput& input_;
  StepPlan& plan_;
  Budget left_;
  bool prefill_limited_ = false;  // by left_.device_ns, which `planned_` takes
  StepSize planned_;
  int64_t prefill_tokens_ = 0;  // planned under this limit
  bool page_wait_ = false;      // a running sequence got fewer tokens than it wanted
};

}  // namespace

void plan_step(const StepInput& input, StepPlan* plan) {
  ASSERT(input.budget.tokens > input.limits.sequences_max &&
             input.budget.logit_rows >= input.limits.sequences_max,
         "{} tokens and {} rows for {} sequences", input.budget.tokens, input.budget.logit_rows,
         input.limits.sequences_max);
  Planner(input, plan).plan();
}

}  // namespace sluice::schedule
