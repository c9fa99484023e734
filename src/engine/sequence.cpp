#include "engine/sequence.h"

#include <algorithm>
#include <cstdlib>

#include "contract/block_hash.h"
#include "core/assert.h"

namespace sluice::engine {
namespace {

// Ids that no token has can neither be sampled nor be made likelier.
void drop_foreign_ids(int32_t vocab_tokens, Sequence* s) {
  const auto foreign = [&](int32_t id) { return id < 0 || id >= vocab_tokens; };
  std::erase_if(s->ends, foreign);
  std::erase_if(s->sampling.logit_bias, [&](const LogitBias& b) { return foreign(b.token_id); });
}

}  // namespace

std::span<const int32_t> Sequence::masked_ids(int64_t position) const {
  if (position - prompt_tokens < sampling.min_tokens) return ends;
  if (sampling.end_tokens == SamplingParams::EndTokens::kNever)
    return std::span(ends).first(static_cast<size_t>(model_ends));
  return {};
}

bool Sequence::is_end(int32_t token_id) const {
  return std::find(ends.begin(), ends.end(), token_id) != ends.end();
}

Admission check_request(const Request& request, const EngineConfig& config) {
  const auto known = [&](int32_t id) { return id >= 0 && id < config.vocab_tokens; };
  const std::vector<int32_t>& prompt = request.prompt_ids;
  const auto resumed = static_cast<size_t>(request.resumed_tokens);
  if (prompt.size() <= resumed || !std::all_of(prompt.begin(), prompt.end(), known))
    return Admission::kBadPrompt;
  const int64_t wanted = request.sampling.max_tokens > 0 ? 1 : 0;
  if (static_cast<int64_t>(prompt.size()) + wanted > config.limits.context_tokens_max)
    return Admission::kTooLong;
  return Admission::kAccepted;
}

std::unique_ptr<Sequence> make_sequence(Request request, const EngineConfig& config,
                                        int32_t page_tokens) {
  auto s = std::make_unique<Sequence>();
  s->id = request.id;
  s->sampling = std::move(request.sampling);
  s->prompt_logprobs_top = request.prompt_logprobs_top;
  s->ids = std::move(request.prompt_ids);
  s->prompt_tokens = s->known() - request.resumed_tokens;
  ASSERT(std::abs(request.priority) <= kPriorityMax, "priority {}", request.priority);
  s->priority = request.priority;
  s->deadline_ns = request.deadline_ns;
  s->target = request.target;
  ASSERT(s->sampling.max_tokens >= 0, "max_tokens {}", s->sampling.max_tokens);
  const int64_t room = config.limits.context_tokens_max - s->prompt_tokens;
  s->tokens_max = s->prompt_tokens + std::min(room, s->sampling.max_tokens);
  ASSERT(s->outputs() == 0 || s->known() < s->tokens_max, "{} of {} tokens are resumed", s->known(),
         s->tokens_max);
  s->ends = config.end_token_ids;
  s->model_ends = static_cast<int64_t>(s->ends.size());
  s->ends.insert(s->ends.end(), s->sampling.stop_token_ids.begin(),
                 s->sampling.stop_token_ids.end());
  drop_foreign_ids(config.vocab_tokens, s.get());
  const auto top_max = static_cast<int32_t>(config.limits.logprobs_top_max);
  s->sampling.logprobs_top = std::min(s->sampling.logprobs_top, top_max);
  s->prompt_logprobs_top = std::min(s->prompt_logprobs_top, top_max);
  s->name_space = contract::combine_namespace(config.cache_namespace, request.cache_salt);
  contract::extend_page_hashes(s->name_space, s->ids, page_tokens, &s->page_hashes);
  if (needs_history(s->sampling)) {
    const auto prompt = std::span(s->ids).first(static_cast<size_t>(s->prompt_tokens));
    for (const int32_t id : prompt) s->history.add_prompt(id);
    for (const int32_t id : std::span(s->ids).subspan(prompt.size())) s->history.add_output(id);
  }
  return s;
}

}  // namespace sluice::engine
