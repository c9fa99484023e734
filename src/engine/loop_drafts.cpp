// How the loop drafts: what comes next is guessed before a step and compared behind it.
#include <algorithm>

#include "core/math.h"
#include "engine/loop.h"

namespace sluice::engine {
namespace {

// What the draft layer continues by itself; it was trained for the first alone.
constexpr int32_t kModelDraftTokensMax = model::kDraftPassesMax;
// Where no guess is wanted, a pass guesses all the same, for what comes of it, behind 1, 2, 4, …
// at most so many for keys alone.
constexpr int64_t kKeysPassesMax = 16;

}  // namespace

// Every sequence that decodes gets a draft of its own tokens, also where it is not worth its rows:
// what comes of it is observed all the same. Of the draft layer's, which cost a pass, it gets one
// now and then. For a step that is under way already a draft that is wanted comes too late; no
// other step goes ahead of its ids then.
void Loop::draft() {
  if (config_.speculation == Speculation::kOff) return;
  draft_offers_.clear();
  for (const Owned& s : running_) draft_offers_.push_back(make_draft(s.get()));
  const int64_t sequences = std::ssize(running_);
  if (sequences == 0) return;
  DraftStep step{.sequences = sequences, .times = step_times_};
  if (uses_draft_layer()) {
    step.keys_ns = keys_times_.of(sequences);
    step.pass_ns = pass_times_.of(sequences);
  }
  choose_drafts(step, draft_offers_);
  for (size_t i = 0; i < running_.size(); ++i) running_[i]->draft.wanted = draft_offers_[i].wanted;
}

// By whatever was right more often; the draft layer's tokens follow in draft_by_model().
DraftOffer Loop::make_draft(Sequence* s) {
  Draft& draft = s->draft;
  draft.tokens = draft.wanted = 0;
  draft.is_known = true;
  const bool decodes = s->known() - s->computed == 1 && !s->owes_prompt_tokens();
  const int64_t room = s->tokens_max - s->known() - 1;
  if (!decodes || room <= 0) return {};
  if (config_.speculation != Speculation::kMtp) {
    s->suffixes.extend(s->ids);
    const auto tokens_max = static_cast<size_t>(std::min<int64_t>(room, kDraftTokensMax));
    const SuffixMatch match =
        s->suffixes.continue_with(s->ids, std::span(draft.ids).first(tokens_max));
    draft.tokens = static_cast<int32_t>(match.tokens);
    draft.source = source_of_match(match.matched);
  }
  const DraftOffer own{.rate = s->acceptance.rate(draft.source), .tokens = draft.tokens};
  const bool goes_on = s->kept.rows > 0 && s->draft_computed == s->kept.first_position;
  const double model_rate = s->acceptance.rate(DraftSource::kMtp);
  if (!uses_draft_layer() || !goes_on || (own.tokens > 0 && own.rate >= model_rate)) return own;
  draft.tokens = 0;
  draft.source = DraftSource::kMtp;
  return {.rate = model_rate,
          .kind = DraftKind::kMtp,
          .tokens = static_cast<int32_t>(std::min<int64_t>(room, kModelDraftTokensMax))};
}

// The draft layer sees what the last step computed, then guesses as many tokens as the step has
// rows for.
void Loop::draft_by_model() {
  pass_ns_ = 0;
  drafts_before_ = stats_.drafts[static_cast<size_t>(DraftKind::kMtp)];
  if (config_.speculation == Speculation::kOff || !shape_.has_drafts) return;
  for (const Owned& s : running_) s->draft.wanted = 0;
  for (const Part& part : current_.parts)
    part.sequence->draft.wanted = static_cast<int32_t>(part.drafts);
  see_kept_rows();
  for (const Owned& s : running_) s->kept = {};
  for (int32_t tokens = 1; tokens < kModelDraftTokensMax && !drafted_.empty(); ++tokens)
    extend_drafts(tokens);
}

void Loop::see_kept_rows() {
  drafted_.clear();
  token_ids_.clear();
  page_tables_.clear();
  spans_.clear();
  hidden_rows_.clear();
  for (const Owned& owned : running_) {
    Sequence& s = *owned;
    const Sequence::KeptRows& kept = s.kept;
    if (kept.rows == 0 || s.draft_computed != kept.first_position) continue;
    const auto first_row = static_cast<int32_t>(token_ids_.size());
    spans_.push_back({.first_row = first_row,
                      .rows = kept.rows,
                      .first_position = static_cast<int32_t>(kept.first_position),
                      .pages = page_tables_.data() + page_tables_.size()});
    for (const kv::PageId page : s.pages) page_tables_.push_back(page.value);
    for (int32_t row = 0; row < kept.rows; ++row) {
      token_ids_.push_back(s.ids[static_cast<size_t>(kept.first_position + row + 1)]);
      hidden_rows_.push_back(kept.first_row + row);
    }
    s.draft_computed += kept.rows;
    drafted_.push_back(&s);
  }
  if (drafted_.empty()) return;
  using Purpose = model::DraftBatch::Purpose;
  const Purpose purpose = wants_guesses() ? Purpose::kGuess : Purpose::kKeys;
  run_draft_pass({.next_ids = token_ids_,
                  .sequences = spans_,
                  .hidden_rows = hidden_rows_,
                  .purpose = purpose});
  if (purpose == Purpose::kKeys) return drafted_.clear();
  for (size_t i = 0; i < drafted_.size(); ++i) take_draft_token(drafted_[i], i);
}

// Of the pass over `drafted_`. One that nobody wants anything of is for keys alone, so that the
// layer can guess at any later time.
bool Loop::wants_guesses() {
  bool could_guess = false;
  for (const Sequence* s : drafted_) {
    if (s->draft.source != DraftSource::kMtp) continue;
    could_guess = true;
    if (s->draft.wanted == 0) continue;
    keys_passes_ = 0;
    keys_passes_wanted_ = 1;
    return true;
  }
  if (!could_guess || keys_passes_++ < keys_passes_wanted_) return false;
  keys_passes_ = 0;
  keys_passes_wanted_ = std::min(2 * keys_passes_wanted_, kKeysPassesMax);
  return true;
}

// Those that want more than `tokens` go on behind their own draft. What this leaves in pages is
// written again when the text has got there.
void Loop::extend_drafts(int32_t tokens) {
  token_ids_.clear();
  page_tables_.clear();
  spans_.clear();
  hidden_rows_.clear();
  size_t kept = 0;
  for (size_t i = 0; i < drafted_.size(); ++i) {
    Sequence* s = drafted_[i];
    if (s->draft.source != DraftSource::kMtp || s->draft.wanted <= tokens) continue;
    spans_.push_back({.first_row = static_cast<int32_t>(kept),
                      .rows = 1,
                      .first_position = static_cast<int32_t>(s->draft_computed) + tokens - 1,
                      .pages = page_tables_.data() + page_tables_.size()});
    for (const kv::PageId page : s->pages) page_tables_.push_back(page.value);
    token_ids_.push_back(s->draft.ids[static_cast<size_t>(tokens - 1)]);  // or whatever
    hidden_rows_.push_back(static_cast<int32_t>(i));
    drafted_[kept++] = s;
  }
  drafted_.resize(kept);
  if (drafted_.empty()) return;
  run_draft_pass({.next_ids = token_ids_,
                  .sequences = spans_,
                  .hidden = model::DraftBatch::Hidden::kOfDraft,
                  .hidden_rows = hidden_rows_});
  for (size_t i = 0; i < drafted_.size(); ++i) take_draft_token(drafted_[i], i);
}

void Loop::run_draft_pass(const model::DraftBatch& batch) {
  const bool guesses = batch.purpose == model::DraftBatch::Purpose::kGuess;
  const int64_t begin_ns = parts_.clock->now_ns();
  if (shape_.samples) {
    if (draft_passes_.empty()) drafts_begin_ns_ = begin_ns;
    draft_passes_.push_back({std::ssize(token_ids_), guesses ? std::ssize(spans_) : 0});
    return parts_.runner->submit_draft(batch, config_.vocab_tokens);
  }
  parts_.runner->draft(batch, guesses ? logits_.data() : nullptr);
  const int64_t pass_ns = parts_.clock->now_ns() - begin_ns;
  (guesses ? pass_times_ : keys_times_).add(std::ssize(token_ids_), pass_ns);
  pass_ns_ += static_cast<double>(pass_ns);
}

// `row` of the pass: the best token is the draft's next one.
void Loop::take_draft_token(Sequence* s, size_t row) {
  Draft& draft = s->draft;
  if (draft.source != DraftSource::kMtp) return;
  draft.is_known = !shape_.samples;
  if (!draft.is_known) {
    draft.places[static_cast<size_t>(draft.tokens)] = static_cast<int32_t>(row);
    draft.ids[static_cast<size_t>(draft.tokens++)] = 0;
    return;
  }
  const float* logits = logits_.data() + row * static_cast<size_t>(shape_.logit_columns);
  draft.ids[static_cast<size_t>(draft.tokens++)] =
      static_cast<int32_t>(parts_.ops->argmax(logits, config_.vocab_tokens));
}

// Reads what the runner has guessed. A row without a best token counts as the first one.
void Loop::collect_drafts() {
  const auto ids_of = [&](size_t pass) {
    return std::span(drafted_ids_)
        .subspan(pass * static_cast<size_t>(config_.limits.sequences_max),
                 static_cast<size_t>(draft_passes_[pass].sequences));
  };
  for (size_t pass = 0; pass < draft_passes_.size(); ++pass) {
    const int64_t pass_ns = parts_.runner->collect_draft(static_cast<int32_t>(pass), ids_of(pass));
    StepTimes& times = draft_passes_[pass].sequences > 0 ? pass_times_ : keys_times_;
    times.add(draft_passes_[pass].rows, pass_ns);
    pass_ns_ += static_cast<double>(pass_ns);
  }
  for (const Owned& s : running_) {
    Draft& draft = s->draft;
    if (draft.is_known) continue;
    for (size_t i = 0; i < static_cast<size_t>(draft.tokens); ++i)
      draft.ids[i] = std::max(ids_of(i)[static_cast<size_t>(draft.places[i])], 0);
    draft.is_known = true;
  }
  draft_passes_.clear();
}

// The sequence went on with `tokens`; `verified` tokens of its draft were in the step.
void Loop::check_draft(Sequence* s, std::span<const int32_t> tokens, int64_t verified) {
  if (s->draft.tokens == 0 || tokens.empty()) return;
  acceptance_.observe(s->draft, tokens);
  const int64_t right = s->acceptance.observe(s->draft, tokens);
  const int64_t accepted = std::min(right, verified);
  s->accepted_drafts += accepted;
  s->rejected_drafts += verified - accepted;
  DraftCounts& counts = stats_.drafts[static_cast<size_t>(kind_of(s->draft.source))];
  counts.drafted += verified;
  counts.accepted += accepted;
}

// Whether the draft layer has been worth its time in this step.
void Loop::measure_drafts() {
  const auto sequences = std::ssize(current_.parts);
  const bool decodes =
      std::all_of(current_.records.begin(), current_.records.end(),
                  [](const StepPart& p) { return p.kind == StepPart::Kind::kDecode; });
  if (!shape_.has_drafts || !decodes || step_times_.is_old(sequences)) return;
  const double plain_ns = step_times_.of(sequences);
  const auto step_ns = static_cast<double>(record_.forward_ns + record_.sampling_ns);
  const DraftCounts& drafts = stats_.drafts[static_cast<size_t>(DraftKind::kMtp)];
  const auto accepted = static_cast<double>(drafts.accepted - drafts_before_.accepted);
  const double wider_ns = drafts.drafted > drafts_before_.drafted ? step_ns - plain_ns : 0;
  draft_layer_.add_step(accepted * plain_ns / static_cast<double>(sequences),
                        pass_ns_ + std::max(wider_ns, 0.0));
}

// Those that only rejected tokens had.
void Loop::drop_pages(Sequence* s) {
  const int64_t kept = core::div_ceil(s->computed, shape_.page_tokens);
  if (std::ssize(s->pages) <= kept) return;
  cache_.release(std::span(s->pages).subspan(static_cast<size_t>(kept)));
  s->pages.erase(s->pages.begin() + kept, s->pages.end());
}

}  // namespace sluice::engine
