#include "engine/loop.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "contract/block_hash.h"
#include "core/assert.h"
#include "core/math.h"

namespace sluice::engine {
namespace {

// How far one observation moves what new sequences expect of drafts.
constexpr float kAcceptanceWeight = 1.0f / 64;
// Fewer logits are sampled sooner by one thread than others wake up.
constexpr int64_t kSharedLogitsMin = 1 << 16;

double seconds(int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

template <typename T>
void reserve_values(std::vector<T>* v, int64_t count) {
  v->reserve(static_cast<size_t>(count));
}

void check_limits(const EngineConfig& c, const RunnerShape& shape) {
  const EngineLimits& l = c.limits;
  ASSERT(l.sequences_max > 0 && l.queue_max >= 0, "{} sequences, queue {}", l.sequences_max,
         l.queue_max);
  ASSERT(l.kv_pages > 0 && l.kv_pages <= shape.kv_pages, "{} pages of {}", l.kv_pages,
         shape.kv_pages);
  ASSERT(l.context_tokens_max > 0 && l.context_tokens_max <= l.kv_pages * shape.page_tokens,
         "context of {} tokens in {} pages of {}", l.context_tokens_max, l.kv_pages,
         shape.page_tokens);
  ASSERT(l.step_tokens_max > l.sequences_max && l.step_tokens_max <= shape.step_tokens_max,
         "steps of {} tokens, {} sequences, the model takes {}", l.step_tokens_max, l.sequences_max,
         shape.step_tokens_max);
  ASSERT(l.chunk_tokens_max > 0 && l.prefill_tokens_min > 0, "chunks of {}, at least {}",
         l.chunk_tokens_max, l.prefill_tokens_min);
  ASSERT(l.logit_rows_max >= l.sequences_max, "{} rows of logits for {} sequences",
         l.logit_rows_max, l.sequences_max);
  ASSERT(c.vocab_tokens > 0 && c.vocab_tokens <= shape.logit_columns, "{} ids, {} logits",
         c.vocab_tokens, shape.logit_columns);
  ASSERT(l.logprobs_top_max <= c.vocab_tokens, "{} of {} ids", l.logprobs_top_max, c.vocab_tokens);
  for (const int32_t id : c.end_token_ids)
    ASSERT(id >= 0 && id < c.vocab_tokens, "end token {} of {} ids", id, c.vocab_tokens);
}

bool by_rank(int64_t rank, const std::unique_ptr<Sequence>& s) {
  return rank < s->rank();
}

void insert_by_rank(std::vector<std::unique_ptr<Sequence>>* into, std::unique_ptr<Sequence> s) {
  const auto place = std::upper_bound(into->begin(), into->end(), s->rank(), by_rank);
  into->insert(place, std::move(s));
}

StepTimes::First first_of(const RunnerShape& shape) {
  return shape.records ? StepTimes::First::kIsLonger : StepTimes::First::kCounts;
}

}  // namespace

Loop::Loop(const EngineConfig& config, const EngineParts& parts)
    : config_(config),
      parts_(parts),
      shape_(parts.runner->shape()),
      cache_(config.limits.kv_pages, shape_.page_tokens),
      acceptance_(kAcceptanceWeight),
      step_times_(config.limits.sequences_max + kDraftRowsMax, first_of(shape_)),
      pass_times_(config.limits.sequences_max + kDraftRowsMax, first_of(shape_)),
      keys_times_(config.limits.sequences_max + kDraftRowsMax, first_of(shape_)) {
  check_limits(config, shape_);
  const EngineLimits& l = config.limits;
  const int64_t pages_of_one = core::div_ceil(l.context_tokens_max, shape_.page_tokens);
  reserve_values(&running_, l.sequences_max);
  reserve_values(&waiting_, l.sequences_max + l.queue_max);  // the preempted ones too
  reserve_values(&running_states_, l.sequences_max);
  reserve_values(&waiting_states_, l.sequences_max);
  reserve_values(&plan_.running, l.sequences_max);
  reserve_values(&plan_.admitted, l.sequences_max);
  reserve(&current_);
  reserve(&ahead_);
  reserve_values(&logit_rows_, l.logit_rows_max);
  reserve_values(&sample_rows_, l.logit_rows_max);
  reserve_values(&sampled_ids_, l.logit_rows_max);
  reserve_values(&sampled_rows_, l.sequences_max);
  reserve_values(&token_ids_, l.step_tokens_max);
  reserve_values(&spans_, l.sequences_max);
  reserve_values(&page_tables_, l.sequences_max * pages_of_one);
  reserve_values(&prompt_events_, l.logit_rows_max + l.sequences_max);
  reserve_values(&draft_offers_, l.sequences_max);
  reserve_values(&drafted_, l.sequences_max);
  reserve_values(&hidden_rows_, l.step_tokens_max);
  reserve_values(&draft_passes_, model::kDraftPassesMax);
  drafted_ids_.resize(static_cast<size_t>(model::kDraftPassesMax * l.sequences_max));
  reserve_values(&draft_of_, l.step_tokens_max);
  reserve_values(&token_events_, l.logit_rows_max);
  reserve_values(&finish_events_, l.sequences_max + l.queue_max);
  logits_.resize(static_cast<size_t>(l.logit_rows_max * shape_.logit_columns));
  tops_.resize(static_cast<size_t>(l.logit_rows_max * l.logprobs_top_max));
  samplers_.assign(static_cast<size_t>(parts.pool->threads()),
                   Sampler(*parts.ops, config.vocab_tokens));
  stats_.pages = l.kv_pages;
}

void Loop::reserve(Launch* launch) const {
  const EngineLimits& l = config_.limits;
  reserve_values(&launch->parts, l.sequences_max);
  reserve_values(&launch->records, l.sequences_max);
  reserve_values(&launch->jobs, l.logit_rows_max);
}

void Loop::step(Messages* messages) {
  const int64_t begin_ns = parts_.clock->now_ns();
  record_ = {.step = stats_.steps, .parts = {}};
  clear_events();
  receive(messages);
  draft();
  if (ahead_.parts.empty()) {
    schedule();
    draft_by_model();
    launch();
  } else {
    follow_ahead();
  }
  go_ahead();
  process();
  emit();
  const int64_t step_ns = parts_.clock->now_ns() - begin_ns;
  record_.other_ns = std::max<int64_t>(step_ns - record_.forward_ns - record_.sampling_ns, 0);
  if (!current_.parts.empty() && parts_.observer) parts_.observer(record_);
  if (!has_work()) rest();
}

void Loop::rest() {
  drop_ahead();
  cache_.check_sum();
  ASSERT(cache_.counts().used == 0, "{} pages used by nobody", cache_.counts().used);
  last_finish_ns_.reset();
}

void Loop::cancel_all(Messages* messages) {
  clear_events();
  receive(messages);
  for (const Owned& s : running_) finish(s.get(), FinishReason::kCancelled);
  for (const Owned& s : waiting_) finish(s.get(), FinishReason::kCancelled);
  running_.clear();
  waiting_.clear();
  drop_ahead();
  emit();
}

void Loop::clear_events() {
  prompt_events_.clear();
  token_events_.clear();
  finish_events_.clear();
}

// ---- receive

void Loop::receive(Messages* messages) {
  for (Owned& s : messages->arrivals) {
    if (s->deadline_ns > 0) earliest_deadline_ns_ = std::min(earliest_deadline_ns_, s->deadline_ns);
    insert_by_rank(&waiting_, std::move(s));
  }
  for (const EndMessage& end : messages->ends) {
    const auto is_it = [&](const Owned& s) { return s->id == end.id; };
    const auto running = std::find_if(running_.begin(), running_.end(), is_it);
    if (running != running_.end()) {
      finish(running->get(), end.reason);
      running_.erase(running);
      continue;
    }
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), is_it);
    if (waiting == waiting_.end()) continue;  // it has ended by itself
    finish(waiting->get(), end.reason);
    waiting_.erase(waiting);
  }
  if (messages->flush == FlushCache::kYes) cache_.flush();
  end_overdue();
  if (std::none_of(ahead_.parts.begin(), ahead_.parts.end(),
                   [](const Part& p) { return p.sequence != nullptr; }))
    drop_ahead();
}

// What has begun is worth its end.
void Loop::end_overdue() {
  const int64_t now_ns = parts_.clock->now_ns();
  if (now_ns < earliest_deadline_ns_) return;
  earliest_deadline_ns_ = kNever;
  for (Owned& s : waiting_) {
    if (s->deadline_ns == 0 || s->started_ns) continue;
    if (now_ns < s->deadline_ns) {
      earliest_deadline_ns_ = std::min(earliest_deadline_ns_, s->deadline_ns);
      continue;
    }
    finish(s.get(), FinishReason::kDeadline);
    s.reset();
  }
  std::erase(waiting_, nullptr);
}

// ---- schedule

void Loop::schedule() {
  current_.parts.clear();
  for (;;) {
    describe();
    const EngineLimits& l = config_.limits;
    schedule::plan_step({.running = running_states_,
                         .waiting = waiting_states_,
                         .look_up =
                             [this](int64_t index, schedule::SequenceState* state) {
                               look_up(*waiting_[static_cast<size_t>(index)], state);
                             },
                         .budget = {.tokens = l.step_tokens_max,
                                    .pages = cache_.available(),
                                    .logit_rows = l.logit_rows_max,
                                    .device_ns = step_time_ns()},
                         .limits = {.sequences_max = l.sequences_max,
                                    .chunk_tokens_max = l.chunk_tokens_max,
                                    .prefill_tokens_min = l.prefill_tokens_min,
                                    .page_tokens = shape_.page_tokens},
                         .cost = cost_.cost()},
                        &plan_);
    if (!plan_.preempt) break;
    preempt(*plan_.preempt);
  }
  for (const schedule::PlannedPart& p : plan_.running)
    current_.parts.push_back({.sequence = running_[static_cast<size_t>(p.index)].get(),
                              .tokens = p.tokens,
                              .drafts = p.drafts});
  start_admitted();
  for (Part& part : current_.parts) take_pages(&part);
  ASSERT(!current_.parts.empty() || !has_work(), "{} running and {} waiting sequences stand still",
         running_.size(), waiting_.size());
}

// The strictest TPOT of those that run; 0: none has one.
double Loop::step_time_ns() const {
  int64_t least_ns = config_.tpot_target_ns > 0 ? config_.tpot_target_ns : kNever;
  for (const Owned& s : running_)
    if (s->target.tpot_ns > 0) least_ns = std::min(least_ns, s->target.tpot_ns);
  return least_ns == kNever ? 0.0 : static_cast<double>(least_ns);
}

void Loop::describe() {
  running_states_.clear();
  waiting_states_.clear();
  for (const Owned& s : running_) running_states_.push_back(state_of(*s));
  const size_t places = static_cast<size_t>(config_.limits.sequences_max) - running_.size();
  for (const Owned& s : waiting_) {
    if (waiting_states_.size() == places) break;
    waiting_states_.push_back(state_of(*s));
  }
}

// The cached pages that a waiting sequence would get; at least one token is left to compute.
void Loop::look_up(const Sequence& s, schedule::SequenceState* state) const {
  if (state->rows == schedule::LogitRows::kAll) return;
  const int64_t reusable = (s.known() - 1) / shape_.page_tokens;
  const kv::PrefixMatch found = cache_.match(s.key(), reusable);
  state->pages = found.pages;
  state->idle_pages = found.idle_pages;
  state->computed_tokens = found.pages * shape_.page_tokens;
}

schedule::SequenceState Loop::state_of(const Sequence& s) const {
  return {.rank = s.rank(),
          .known_tokens = s.known(),
          .computed_tokens = s.computed,
          .pages = static_cast<int64_t>(s.pages.size()),
          .rows = s.owes_prompt_tokens() ? schedule::LogitRows::kAll : schedule::LogitRows::kLast,
          .drafts = s.draft.wanted,
          .page_hashes = s.page_hashes};
}

void Loop::preempt(int64_t index) {
  const auto victim = running_.begin() + index;
  Sequence& s = **victim;
  cache_.release(s.pages);
  s.pages.clear();
  s.computed = s.published = 0;
  s.draft = {};
  s.kept = {};
  ++s.preemptions;
  ++stats_.preemptions;
  ++record_.preempted;
  insert_by_rank(&waiting_, std::move(*victim));
  running_.erase(victim);
}

// Cached pages are held before anybody takes a page, which could evict them.
void Loop::start_admitted() {
  const int64_t now_ns = parts_.clock->now_ns();
  for (const schedule::PlannedPart& p : plan_.admitted) {
    Sequence& s = *waiting_[static_cast<size_t>(p.index)];
    const schedule::SequenceState& state = waiting_states_[static_cast<size_t>(p.index)];
    cache_.acquire(s.key(), state.pages, &s.pages);
    s.computed = s.draft_computed = state.computed_tokens;
    s.published = state.pages;
    record_.cached_tokens += s.computed;
    ++record_.admitted;
    if (!s.started_ns) {
      s.started_ns = now_ns;
      s.cached_tokens = std::min(s.computed, s.prompt_tokens);
      if (state.rows == schedule::LogitRows::kLast) stats_.prefix_query_tokens += s.prompt_tokens;
      stats_.prefix_hit_tokens += s.cached_tokens;
      s.ids.reserve(static_cast<size_t>(s.tokens_max));
      s.pages.reserve(static_cast<size_t>(core::div_ceil(s.tokens_max, shape_.page_tokens)));
      s.page_hashes.reserve(s.pages.capacity());
      if (needs_history(s.sampling)) s.history.reserve(s.tokens_max);
      if (config_.speculation != Speculation::kOff) {
        s.suffixes.reserve(s.tokens_max);
        s.acceptance = Acceptance(Sequence::kAcceptanceWeight, acceptance_);
      }
    }
    current_.parts.push_back({.sequence = &s, .tokens = p.tokens});
  }
  for (const schedule::PlannedPart& p : plan_.admitted)
    insert_by_rank(&running_, std::move(waiting_[static_cast<size_t>(p.index)]));
  std::erase(waiting_, nullptr);
}

void Loop::take_pages(Part* part) {
  Sequence& s = *part->sequence;
  const int64_t wanted =
      core::div_ceil(s.computed + part->tokens + part->drafts, shape_.page_tokens);
  while (static_cast<int64_t>(s.pages.size()) < wanted) {
    const std::optional<kv::PageId> page = cache_.take();
    ASSERT(page.has_value(), "a planned page is missing: {} of {}", s.pages.size(), wanted);
    s.pages.push_back(*page);
  }
}

// ---- process

void Loop::process() {
  if (current_.parts.empty()) return;
  if (current_.is_submitted) collect();
  count_work();
  const int64_t begin_ns = parts_.clock->now_ns();
  sample_rows();
  record_.sampling_ns = parts_.clock->now_ns() - begin_ns;
  schedule::StepSize size;
  for (const Part& part : current_.parts) {
    const int64_t rows = part.tokens + part.drafts;
    size.tokens += rows;
    size.context += schedule::context_of(rows, part.sequence->computed);
    advance(part);
  }
  cost_.add(size, record_.forward_ns + record_.sampling_ns);
  measure_speed(size.tokens);
  measure_drafts();
  stats_.iteration_tokens.add(static_cast<double>(size.tokens));
  ++stats_.steps;
  stats_.residents = parts_.runner->resident_counts();
  std::erase_if(running_, [](const Owned& s) { return s->finished; });
}

// Threads take rows as they get free; a row's result depends on nothing else, but on the drafts
// before it.
void Loop::sample_rows() {
  std::atomic<size_t> next = 0;
  const auto work = [&](int thread, int) {
    for (size_t i = next.fetch_add(1); i < current_.jobs.size(); i = next.fetch_add(1))
      run_job(i, &samplers_[static_cast<size_t>(thread)]);
  };
  const int64_t logits = std::ssize(current_.jobs) * config_.vocab_tokens;
  if (!current_.is_submitted && current_.jobs.size() > 1 && logits >= kSharedLogitsMin)
    parts_.pool->run(work);
  else
    work(0, 1);
}

std::span<const float> Loop::logits_of(size_t job) const {
  const auto columns = static_cast<size_t>(shape_.logit_columns);
  return std::span(logits_).subspan(job * columns, static_cast<size_t>(config_.vocab_tokens));
}

void Loop::run_job(size_t index, Sampler* sampler) {
  Job& job = current_.jobs[index];
  if (job.sequence == nullptr) return;  // it ended while the step was under way
  const Sequence& s = *job.sequence;
  if (job.position > s.known()) return;  // sample_job() of the first one goes on to it
  if (job.position == s.known()) return sample_job(index, sampler);
  const std::span<const float> logits = logits_of(index);
  if (!all_finite(logits)) {
    job.result = {SampleOutcome::kNotFinite};
    return;
  }
  const int32_t id = s.ids[static_cast<size_t>(job.position)];
  const float logprob = log_probabilities(logits, id, job.top, sampler);
  job.result = {SampleOutcome::kToken, {id, logprob}};
}

// Samples the sequence's rows up to the first whose token is not the draft's.
void Loop::sample_job(size_t index, Sampler* sampler) {
  Sequence& s = *current_.jobs[index].sequence;
  for (size_t i = index; i < current_.jobs.size() && current_.jobs[i].sequence == &s; ++i) {
    Job& job = current_.jobs[i];
    job.result = current_.is_submitted ? sample_of(sampled_ids_[i])
                                       : sample({.logits = logits_of(i),
                                                 .params = &s.sampling,
                                                 .history = &s.history,
                                                 .masked_ids = s.masked_ids(job.position),
                                                 .position = static_cast<uint64_t>(job.position),
                                                 .top = job.top},
                                                sampler);
    if (job.result.outcome != SampleOutcome::kToken) return;
    const int32_t id = job.result.token.token_id;
    if (needs_history(s.sampling)) s.history.add_output(id);
    const size_t draft = i - index;
    if (s.is_end(id) || draft >= s.draft.all().size() || id != s.draft.ids[draft]) return;
  }
}

// The rows that are part of the text.
std::span<Loop::Job> Loop::jobs_of(const Part& part) {
  const auto jobs =
      std::span(current_.jobs)
          .subspan(static_cast<size_t>(part.first_job), static_cast<size_t>(part.jobs));
  const auto unread = std::find_if(jobs.begin(), jobs.end(), [](const Job& j) {
    return j.result.outcome == SampleOutcome::kUnread;
  });
  return jobs.first(static_cast<size_t>(unread - jobs.begin()));
}

// After the forward pass: events, full pages, the next tokens.
void Loop::advance(const Part& part) {
  Sequence* s = part.sequence;
  const std::span<const Job> jobs = jobs_of(part);
  const auto is_broken = [](const Job& j) { return j.result.outcome == SampleOutcome::kNotFinite; };
  if (std::any_of(jobs.begin(), jobs.end(), is_broken)) {
    finish(s, FinishReason::kError);
    cache_.flush();  // a page of it may be the reason
    return;
  }
  const auto sampled = std::find_if(jobs.begin(), jobs.end(),
                                    [&](const Job& j) { return j.position == s->known(); });
  const auto prompt_jobs = static_cast<size_t>(sampled - jobs.begin());
  take_prompt_jobs(s, jobs.first(prompt_jobs));
  take_samples(part, jobs.subspan(prompt_jobs));
}

void Loop::take_prompt_jobs(Sequence* s, std::span<const Job> jobs) {
  if (s->prompt_logprobs_top >= 0 && s->prompt_tokens_emitted == 0) {
    prompt_events_.push_back({.id = s->id,
                              .position = 0,
                              .token_id = s->ids.front(),
                              .logprob = std::numeric_limits<float>::quiet_NaN()});
    ++s->prompt_tokens_emitted;
  }
  for (const Job& job : jobs) {
    prompt_events_.push_back({.id = s->id,
                              .position = job.position,
                              .token_id = job.result.token.token_id,
                              .logprob = job.result.token.logprob,
                              .top = job.top});
    ++s->prompt_tokens_emitted;
  }
}

// What was computed, and what was sampled from it: the first token, and one behind each draft that
// was right. The others' keys and values are overwritten by what comes in their places.
void Loop::take_samples(const Part& part, std::span<const Job> samples) {
  Sequence* s = part.sequence;
  const bool may_go_on = samples.empty() || samples.back().result.outcome == SampleOutcome::kToken;
  const std::span<const Job> tokens = samples.first(samples.size() - (may_go_on ? 0 : 1));
  const auto first = static_cast<size_t>(s->known());
  for (const Job& job : tokens) s->ids.push_back(job.result.token.token_id);
  const int64_t accepted = std::max<int64_t>(std::ssize(samples) - 1, 0);
  if (uses_draft_layer())
    s->kept = {.first_row = part.first_row,
               .rows = static_cast<int32_t>(part.tokens + accepted),
               .first_position = s->computed};
  s->computed += part.tokens + accepted;
  check_draft(s, std::span(s->ids).subspan(first), part.drafts);
  publish_pages(s);
  if (part.drafts > 0) drop_pages(s);
  if (s->computed >= s->prompt_tokens && !s->prompt_counted) {
    s->prompt_counted = true;
    stats_.prompt_tokens += s->prompt_tokens;
    stats_.prompt_cached_tokens += s->cached_tokens;
  }
  if (!tokens.empty()) {
    const int64_t now_ns = parts_.clock->now_ns();
    const int64_t gap_ns = (now_ns - s->last_token_ns) / std::ssize(tokens);
    for (const Job& job : tokens) emit_token(s, job, gap_ns);
    s->last_token_ns = now_ns;
  }
  if (!may_go_on || (!tokens.empty() && s->is_end(s->ids.back())))
    finish(s, FinishReason::kStop);
  else if (s->known() == s->tokens_max && (!tokens.empty() || s->computed == s->known()))
    finish(s, FinishReason::kLength);
}

void Loop::publish_pages(Sequence* s) {
  const int64_t full = s->computed / shape_.page_tokens;
  contract::extend_page_hashes(s->name_space, s->ids, shape_.page_tokens, &s->page_hashes);
  for (; s->published < full; ++s->published) cache_.publish(s->key(), s->published, s->pages);
}

// `gap_ns`: since the token before; tokens that come together share the time.
void Loop::emit_token(Sequence* s, const Job& job, int64_t gap_ns) {
  const int32_t id = job.result.token.token_id;
  token_events_.push_back({.id = s->id,
                           .token_id = id,
                           .kind = s->is_end(id) ? TokenKind::kEnd : TokenKind::kText,
                           .logprob = job.result.token.logprob,
                           .top = job.top});
  ++stats_.generation_tokens;
  if (s->first_token_ns) {
    stats_.inter_token_s.add(seconds(gap_ns));
    return;
  }
  s->first_token_ns = parts_.clock->now_ns();
  stats_.time_to_first_token_s.add(seconds(*s->first_token_ns - s->submitted_ns));
}

// Frees its pages and says so. Its owner drops it.
void Loop::finish(Sequence* s, FinishReason reason) {
  forget_ahead(s);
  cache_.release(s->pages);
  s->pages.clear();
  s->finished = true;
  const int64_t now_ns = parts_.clock->now_ns();
  const int64_t started_ns = s->started_ns.value_or(now_ns);
  const int64_t first_token_ns = s->first_token_ns.value_or(now_ns);
  finish_events_.push_back({.id = s->id,
                            .reason = reason,
                            .prompt_tokens = s->prompt_tokens,
                            .cached_tokens = s->cached_tokens,
                            .completion_tokens = s->outputs(),
                            .queue_ns = started_ns - s->submitted_ns,
                            .prefill_ns = first_token_ns - started_ns,
                            .decode_ns = now_ns - first_token_ns,
                            .preemptions = s->preemptions,
                            .accepted_draft_tokens = s->accepted_drafts,
                            .rejected_draft_tokens = s->rejected_drafts});
  count_finished(*s, finish_events_.back(), now_ns);
}

// ---- emit

void Loop::emit() {
  update_gauges();
  if (parts_.pages && !cache_.changes().empty()) parts_.pages(cache_.changes());
  cache_.clear_changes();
  if (prompt_events_.empty() && token_events_.empty() && finish_events_.empty()) return;
  parts_.sink(
      {.prompt_tokens = prompt_events_, .tokens = token_events_, .finished = finish_events_});
}

}  // namespace sluice::engine
