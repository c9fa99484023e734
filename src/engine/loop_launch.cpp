// How the loop gives steps to the runner. Where tokens are sampled where they run, the next step is
// submitted before the ids of the one under way have been read: its rows take them there. A
// sequence that ends with them is in the next step all the same, and what comes of its row is
// thrown away; its pages may have been given to others by then, who write them in later steps.
#include <algorithm>

#include "core/math.h"
#include "engine/loop.h"

namespace sluice::engine {

void Loop::begin_batch(Launch* launch) {
  token_ids_.clear();
  page_tables_.clear();
  spans_.clear();
  logit_rows_.clear();
  sampled_rows_.clear();
  draft_of_.clear();
  launch->jobs.clear();
  launch->records.clear();
}

void Loop::launch() {
  if (current_.parts.empty()) return;
  begin_batch(&current_);
  for (Part& part : current_.parts) add_rows(&part);
  if (!draft_of_.empty()) draft_of_.resize(token_ids_.size());
  current_.begin_ns = parts_.clock->now_ns();
  if (may_submit()) return submit(&current_);
  if (!draft_passes_.empty()) {  // the host samples, and looks for the drafts' ids
    collect_drafts();
    begin_batch(&current_);
    for (Part& part : current_.parts) add_rows(&part);
    current_.begin_ns = parts_.clock->now_ns();
  }
  current_.rows = std::ssize(token_ids_);
  current_.is_submitted = false;
  parts_.runner->run(
      {.token_ids = token_ids_,
       .sequences = spans_,
       .logit_rows = logit_rows_,
       .hidden = uses_draft_layer() ? model::KeepHidden::kYes : model::KeepHidden::kNo},
      logits_.data());
  record_.forward_ns = parts_.clock->now_ns() - current_.begin_ns;
}

void Loop::add_rows(Part* part) {
  const Sequence& s = *part->sequence;
  const auto first_row = static_cast<int32_t>(token_ids_.size());
  const int64_t end = s.computed + part->tokens;
  const auto drafts = s.draft.all().first(static_cast<size_t>(part->drafts));
  token_ids_.insert(token_ids_.end(), s.ids.begin() + s.computed, s.ids.begin() + end);
  token_ids_.insert(token_ids_.end(), drafts.begin(), drafts.end());
  if (!s.draft.is_known && part->drafts > 0) {
    draft_of_.resize(token_ids_.size());
    for (int32_t i = 0; i < part->drafts; ++i)
      draft_of_[static_cast<size_t>(first_row + part->tokens + i)] = {
          i, s.draft.places[static_cast<size_t>(i)]};
  }
  spans_.push_back({.first_row = first_row,
                    .rows = static_cast<int32_t>(part->tokens + part->drafts),
                    .first_position = static_cast<int32_t>(s.computed),
                    .pages = page_tables_.data() + page_tables_.size()});
  for (const kv::PageId page : s.pages) page_tables_.push_back(page.value);

  part->first_row = first_row;
  part->first_job = std::ssize(current_.jobs);
  const auto add_job = [&](int64_t position, int32_t top) {
    const size_t slot = current_.jobs.size() * static_cast<size_t>(config_.limits.logprobs_top_max);
    logit_rows_.push_back(first_row + static_cast<int32_t>(position - 1 - s.computed));
    current_.jobs.push_back(
        {.sequence = part->sequence,
         .position = position,
         .result = {SampleOutcome::kUnread},
         .top = std::span(tops_).subspan(slot, static_cast<size_t>(std::max(top, 0)))});
  };
  if (s.owes_prompt_tokens()) {
    const int64_t first = std::max<int64_t>(s.prompt_tokens_emitted, s.computed + 1);
    for (int64_t position = std::max<int64_t>(first, 1);
         position <= std::min(end, s.prompt_tokens - 1); ++position)
      add_job(position, s.prompt_logprobs_top);
  }
  if (end == s.known() && s.known() < s.tokens_max)
    for (int64_t i = 0; i <= part->drafts; ++i) add_job(end + i, s.sampling.logprobs_top);
  part->jobs = std::ssize(current_.jobs) - part->first_job;

  const bool decodes = part->tokens == 1 && s.outputs() > 0;
  current_.records.push_back(
      {.id = s.id,
       .tokens = part->tokens + part->drafts,
       .context_before = s.computed,
       .kind = decodes ? StepPart::Kind::kDecode : StepPart::Kind::kPrefill});
}

// ---- Sampled where it runs

bool Loop::runner_can_sample(const Sequence& s, int64_t position) const {
  return (shape_.draws || s.sampling.temperature < kGreedyTemperature) &&
         device_can_sample(s.sampling, s.masked_ids(position));
}

bool Loop::may_submit() const {
  return shape_.samples &&
         std::all_of(current_.jobs.begin(), current_.jobs.end(), [&](const Job& job) {
           const Sequence& s = *job.sequence;
           return job.position >= s.known() && runner_can_sample(s, job.position);
         });
}

void Loop::submit(Launch* launch) {
  launch->rows = std::ssize(token_ids_);
  launch->is_submitted = true;
  sample_rows_.clear();
  bool is_plain = true;  // the best id of each row
  for (const Job& job : launch->jobs) {
    const SamplingParams& params = job.sequence->sampling;
    const std::span<const int32_t> masked = job.sequence->masked_ids(job.position);
    is_plain = is_plain && params.temperature < kGreedyTemperature && masked.empty();
    sample_rows_.push_back(device_sample_row(params, masked, static_cast<uint64_t>(job.position)));
  }
  if (is_plain) sample_rows_.clear();
  parts_.runner->submit(
      {.token_ids = token_ids_,
       .sequences = spans_,
       .logit_rows = logit_rows_,
       .hidden = uses_draft_layer() ? model::KeepHidden::kYes : model::KeepHidden::kNo,
       .sampled_rows = sampled_rows_,
       .drafted = draft_of_},
      {.rows = sample_rows_, .vocab = config_.vocab_tokens});
}

// A step that was submitted behind another has begun when that one ended.
void Loop::collect() {
  sampled_ids_.resize(current_.jobs.size());
  parts_.runner->collect(sampled_ids_);
  const int64_t now_ns = parts_.clock->now_ns();
  const bool has_drafts = !draft_passes_.empty();
  const int64_t begin_ns = has_drafts ? drafts_begin_ns_ : current_.begin_ns;
  if (has_drafts) collect_drafts();
  record_.forward_ns = now_ns - std::max(begin_ns, collected_ns_);
  if (has_drafts)
    record_.forward_ns = std::max<int64_t>(record_.forward_ns - static_cast<int64_t>(pass_ns_), 0);
  collected_ns_ = now_ns;
}

// Whether every sequence that runs gets a token from the current step, and the next step can have
// nobody else and needs no draft. (The draft layer must see every step's rows.)
bool Loop::may_go_ahead() const {
  if (!shape_.goes_ahead || has_draft_layer()) return false;
  if (current_.parts.size() != running_.size() || !current_.is_submitted) return false;
  const bool has_places = std::ssize(running_) < config_.limits.sequences_max;
  if (has_places && !waiting_.empty()) return false;
  return std::all_of(current_.parts.begin(), current_.parts.end(), [&](const Part& part) {
    const Sequence& s = *part.sequence;
    const int64_t next = s.known() + 1;
    return part.jobs == 1 && s.draft.wanted == 0 && s.computed + part.tokens == s.known() &&
           (next >= s.tokens_max || runner_can_sample(s, next));
  });
}

void Loop::go_ahead() {
  if (current_.parts.empty() || !may_go_ahead()) return;
  const auto goes_on = [](const Part& part) {
    return part.sequence->known() + 1 < part.sequence->tokens_max;
  };
  for (const Part& part : current_.parts)
    if (goes_on(part) && !take_next_page(part.sequence)) return;
  begin_batch(&ahead_);
  for (const Part& part : current_.parts)
    if (goes_on(part)) add_next_row(part);
  if (ahead_.parts.empty()) return;
  ahead_.begin_ns = parts_.clock->now_ns();
  submit(&ahead_);
}

// Room for one token behind the one that the current step brings.
bool Loop::take_next_page(Sequence* s) {
  if (std::ssize(s->pages) >= core::div_ceil(s->known() + 1, int64_t{shape_.page_tokens}))
    return true;
  const std::optional<kv::PageId> page = cache_.take();
  if (page) s->pages.push_back(*page);
  return page.has_value();
}

void Loop::add_next_row(const Part& part) {
  const Sequence& s = *part.sequence;
  const auto row = static_cast<int32_t>(token_ids_.size());
  token_ids_.push_back(0);
  sampled_rows_.push_back(static_cast<int32_t>(part.first_job));
  logit_rows_.push_back(row);
  spans_.push_back({.first_row = row,
                    .rows = 1,
                    .first_position = static_cast<int32_t>(s.known()),
                    .pages = page_tables_.data() + page_tables_.size()});
  for (const kv::PageId page : s.pages) page_tables_.push_back(page.value);
  ahead_.parts.push_back(
      {.sequence = part.sequence, .tokens = 1, .first_row = row, .first_job = row, .jobs = 1});
  ahead_.jobs.push_back({.sequence = part.sequence,
                         .position = s.known() + 1,
                         .result = {SampleOutcome::kUnread},
                         .top = {}});
  ahead_.records.push_back(
      {.id = s.id, .tokens = 1, .context_before = s.known(), .kind = StepPart::Kind::kDecode});
}

// The step ahead becomes the current one, of those that have not ended.
void Loop::follow_ahead() {
  std::swap(current_, ahead_);
  ahead_.parts.clear();
  std::erase_if(current_.parts, [](const Part& part) { return part.sequence == nullptr; });
}

// Waits for a step that nobody needs any more.
void Loop::drop_ahead() {
  if (ahead_.parts.empty()) return;
  sampled_ids_.resize(ahead_.jobs.size());
  parts_.runner->collect(sampled_ids_);
  collected_ns_ = parts_.clock->now_ns();
  ahead_.parts.clear();
}

void Loop::forget_ahead(const Sequence* s) {
  for (Part& part : ahead_.parts)
    if (part.sequence == s) part.sequence = nullptr;
  for (Job& job : ahead_.jobs)
    if (job.sequence == s) job.sequence = nullptr;
}

}  // namespace sluice::engine
