#include "simulate/modelled_engine.h"

#include <algorithm>

#include "core/assert.h"

namespace sluice::simulate {

ModelledEngine::ModelledEngine(const EngineModel& model) : model_(model) {}

int64_t ModelledEngine::sequences() const {
  return static_cast<int64_t>(running_.size() + waiting_.size());
}

void ModelledEngine::produced(std::vector<std::pair<int64_t, int64_t>>* tokens) const {
  for (const Sequence& sequence : running_)
    if (sequence.decoding)
      tokens->emplace_back(sequence.work.request,
                           sequence.produced + decode_step_ - sequence.joined);
}

bool ModelledEngine::submit(const Work& work, int64_t now_ns) {
  ASSERT(work.prompt_tokens > 0 && work.output_tokens > 0, "prompt {} and output {}",
         work.prompt_tokens, work.output_tokens);
  ASSERT(work.prompt_tokens + work.output_tokens <= model_.kv_tokens, "{} tokens of KV for {} + {}",
         model_.kv_tokens, work.prompt_tokens, work.output_tokens);
  if (model_.busy_at > 0 && sequences() >= model_.busy_at) return false;
  waiting_.push_back({.work = work});
  if (step_end_ns_ == kNever) begin_step(now_ns);
  return true;
}

void ModelledEngine::stop_decoding(Sequence* sequence) {
  const int64_t tokens = decode_step_ - sequence->joined;
  sequence->produced += tokens;
  sequence->computed += tokens;
  sequence->decoding = false;
  --decoding_;
}

void ModelledEngine::preempt_youngest() {
  Sequence sequence = running_.back();
  running_.pop_back();
  if (sequence.decoding) stop_decoding(&sequence);
  used_ -= sequence.computed;
  sequence.computed = 0;
  waiting_.push_front(sequence);
  preempted_ = true;
  ++preemptions_;
}

void ModelledEngine::make_room_for_decodes() {
  while (free_tokens() < decoding_ && running_.size() > 1) preempt_youngest();
}

// A chunk of a prompt beside what the decodes of this step need. False: `sequence` gave way itself.
bool ModelledEngine::give_chunk(Sequence* sequence, int64_t* budget) {
  const int64_t tokens = std::min(sequence->missing(), *budget);
  while (free_tokens() - decoding_ < tokens) {
    const bool itself = sequence == &running_.back();
    preempt_youngest();
    if (itself) return false;
  }
  sequence->computed += tokens;
  used_ += tokens;
  *budget -= tokens;
  return true;
}

void ModelledEngine::admit(int64_t* budget) {
  while (*budget > 0 && !waiting_.empty() && !preempted_ &&
         static_cast<int64_t>(running_.size()) < model_.sequences_max) {
    const int64_t tokens = std::min(waiting_.front().missing(), *budget);
    if (free_tokens() - decoding_ < tokens) return;
    running_.push_back(waiting_.front());
    waiting_.pop_front();
    give_chunk(&running_.back(), budget);
  }
}

void ModelledEngine::begin_step(int64_t now_ns) {
  preempted_ = false;
  make_room_for_decodes();
  int64_t budget = model_.chunk_tokens;
  for (size_t i = 0; i < running_.size() && budget > 0; ++i)
    if (!running_[i].decoding && !give_chunk(&running_[i], &budget)) break;
  admit(&budget);
  step_tokens_ = model_.chunk_tokens - budget;
  if (running_.empty()) {
    ASSERT(waiting_.empty(), "{} wait and nothing runs", waiting_.size());
    step_end_ns_ = kNever;
    return;
  }
  const double step_ns = model_.step_ns + static_cast<double>(decoding_) * model_.step_stream_ns +
                         static_cast<double>(used_) * model_.step_context_ns +
                         static_cast<double>(step_tokens_) * model_.prompt_token_ns;
  step_end_ns_ = now_ns + std::max<int64_t>(1, static_cast<int64_t>(step_ns * slowdown_));
}

// Every decoding sequence has one token more; they are only looked at when one of them ends or a
// prompt was part of the step.
void ModelledEngine::end_step(std::vector<EngineEvent>* events) {
  const int64_t now_ns = step_end_ns_;
  ++decode_step_;
  used_ += decoding_;
  if (decode_step_ >= next_finish_ || step_tokens_ > 0) {
    next_finish_ = kNever;
    for (Sequence& sequence : running_) {
      if (!sequence.decoding && sequence.missing() == 0) {
        sequence.produced += 1;
        sequence.joined = decode_step_;
        sequence.decoding = true;
        ++decoding_;
        if (!sequence.first_told)
          events->push_back({EngineEvent::Kind::kFirstToken, sequence.work.request, now_ns});
        sequence.first_told = true;
      }
      if (!sequence.decoding) continue;
      const int64_t left =
          sequence.work.output_tokens - sequence.produced - (decode_step_ - sequence.joined);
      if (left > 0) {
        next_finish_ = std::min(next_finish_, decode_step_ + left);
        continue;
      }
      stop_decoding(&sequence);
      used_ -= sequence.computed;
      sequence.work.output_tokens = 0;  // ended
      events->push_back({EngineEvent::Kind::kEnd, sequence.work.request, now_ns});
    }
    std::erase_if(running_, [](const Sequence& s) { return s.work.output_tokens == 0; });
  }
  begin_step(now_ns);
}

}  // namespace sluice::simulate
