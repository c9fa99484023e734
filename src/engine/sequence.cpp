#include "engine/sequence.h"

#include <algorithm>

namespace sluice::engine {

std::span<const int32_t> Sequence::masked_ids() const {
  if (outputs() < sampling.min_tokens) return ends;
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
  if (prompt.empty() || !std::all_of(prompt.begin(), prompt.end(), known))
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
  s->prompt_tokens = s->known();
  const int64_t room = config.limits.context_tokens_max - s->prompt_tokens;
  s->tokens_max = s->prompt_tokens + std::min(room, s->sampling.max_tokens);
  s->ends = config.end_token_ids;
  s->model_ends = static_cast<int64_t>(s->ends.size());
  s->ends.insert(s->ends.end(), s->sampling.stop_token_ids.begin(),
                 s->sampling.stop_token_ids.end());
  s->name_space = kv::combine_namespace(config.cache_namespace, request.cache_salt);
  kv::extend_page_hashes(s->name_space, s->ids, page_tokens, &s->page_hashes);
  if (needs_history(s->sampling))
    for (const int32_t id : s->ids) s->history.add_prompt(id);
  return s;
}

}  // namespace sluice::engine
