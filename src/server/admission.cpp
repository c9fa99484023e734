// Requests that make text: from the body to the engine, and the end of them all.
#include <algorithm>
#include <memory>
#include <utility>

#include "core/rng.h"
#include "server/api_server_impl.h"
#include "server/engine_request.h"

namespace sluice::server {
namespace {

using Impl = ApiServer::Impl;

int64_t whole_seconds(int64_t ns) {
  return std::max<int64_t>(1, (ns + 999'999'999) / 1'000'000'000);
}

}  // namespace

void Impl::generate_chat(Ticket ticket, const net::Request& request) {
  generate(AnswerKind::kChat, std::move(ticket), request);
}

void Impl::generate_completion(Ticket ticket, const net::Request& request) {
  generate(AnswerKind::kCompletion, std::move(ticket), request);
}

void Impl::generate(AnswerKind kind, Ticket ticket, const net::Request& request) {
  if (draining) return refuse(ticket, shutting_down());
  prepare(
      std::move(ticket), request.body,
      [this, kind, key = gateway_key_of(request)](std::string_view body,
                                                  prompt::PromptBuilder& builder) {
        return prepare_generation(kind, body, context(builder, key));
      },
      [this](Ticket done, api::Parsed<PreparedGeneration> prepared) {
        if (!prepared.ok()) return refuse(done, prepared.error());
        admit(std::move(done), std::move(prepared).value());
      });
}

void Impl::admit(Ticket ticket, PreparedGeneration prepared) {
  if (!ticket.responder.is_open()) return;
  const api::GenerationFields& fields = prepared.fields;
  const std::string_view prefix = prepared.kind == AnswerKind::kChat ? "chatcmpl-" : "cmpl-";
  GenerationPlan plan;
  plan.kind = prepared.kind;
  plan.head = {.id = std::string(prefix) + random_hex(~config.id_seed, next_engine_id),
               .created_s = parts.clock.unix_ns() / 1'000'000'000,
               .model = fields.model.empty() ? config.model_names.front() : fields.model};
  plan.streaming = fields.streaming;
  plan.reasoning_field = config.reasoning_field;
  plan.n = fields.n;
  plan.headers = common_headers(ticket.request_id, config.allowed_origin);
  plan.started_ns = ticket.started_ns;
  std::vector<engine::Request> submission = plan_choices(prepared, ticket.started_ns, &plan);
  if (fields.gateway && !fields.gateway->resume_ids.empty() && !resume(ticket, prepared, &plan))
    return;
  const engine::Admission admission = parts.engine.submit(std::move(submission));
  if (admission != engine::Admission::kAccepted)
    return refuse(ticket, refusal(admission, prepared.kind));

  request_n.add(static_cast<double>(fields.n));
  auto generation = std::make_shared<Generation>(ticket.responder, std::move(plan));
  generations.add(generation);
  const std::weak_ptr<Generation> weak = generation;
  generation->responder().on_close([this, weak] {
    if (const auto gone = weak.lock()) generations.abandon(*gone);
    end_drain_if_idle();
  });
}

bool Impl::resume(const Ticket& ticket, const PreparedGeneration& prepared, GenerationPlan* plan) {
  const std::vector<int32_t>& ids = prepared.fields.gateway->resume_ids;
  std::vector<int32_t> ends = parts.engine.config().end_token_ids;
  const std::vector<int32_t>& asked = prepared.fields.stopping.stop_token_ids;
  ends.insert(ends.end(), asked.begin(), asked.end());
  const ChoiceText::Replayed replayed = plan->choices.front().replay(ids, ends);
  if (replayed == ChoiceText::Replayed::kBroken) {
    refuse(ticket, api::invalid_field("sluice.resume_ids",
                                      "'sluice.resume_ids' goes on behind the end of the answer"));
    return false;
  }
  plan->begun = true;
  const bool ended = replayed == ChoiceText::Replayed::kEnded;
  if (!ended && std::ssize(ids) < prepared.prompts.front().max_tokens) return true;
  // Only its end was not sent.
  const auto reason = ended ? engine::FinishReason::kStop : engine::FinishReason::kLength;
  Generation generation(ticket.responder, std::move(*plan));
  generation.add_finish(0, {.reason = reason});
  generation.flush(parts.clock.now_ns());
  return false;
}

std::vector<engine::Request> Impl::plan_choices(const PreparedGeneration& prepared,
                                                int64_t arrived_ns, GenerationPlan* plan) {
  const api::GenerationFields& fields = prepared.fields;
  const bool logprobs = prepared.logprobs_top >= 0;
  ChoiceTextOptions text{.stops = fields.stopping.stop,
                         .include_stop_text = fields.stopping.include_stop_text,
                         .logprobs = logprobs,
                         .token_ids = fields.gateway && fields.gateway->token_ids,
                         .end_tokens = prepared.kind == AnswerKind::kChat
                                           ? EndTokenLogprobs::kOmit
                                           : EndTokenLogprobs::kReport,
                         .special = fields.skip_special_tokens ? tokenizer::SpecialOutput::kSkip
                                                               : tokenizer::SpecialOutput::kKeep};
  std::vector<engine::Request> submission;
  for (const prompt::BuiltPrompt& prompt : prepared.prompts) {
    plan->prompt_tokens.push_back(static_cast<int64_t>(prompt.ids.size()));
    text.reasoning = prompt.reasoning;
    const uint64_t seed = fields.sampling.seed
                              ? static_cast<uint64_t>(*fields.sampling.seed)
                              : core::random_bits(config.secret_seed, next_engine_id);
    auto choices = make_engine_requests(
        {.fields = fields,
         .prompt_ids = prompt.ids,
         .max_tokens = prompt.max_tokens,
         .logprobs_top = prepared.logprobs_top,
         .prompt_logprobs_top = prepared.echo && logprobs ? prepared.logprobs_top : -1,
         .seed = seed,
         .salt_key = config.secret_seed,
         .arrived_ns = arrived_ns},
        next_engine_id);
    next_engine_id += choices.size();
    for (engine::Request& choice : choices) {
      plan->engine_ids.push_back(choice.id);
      plan->choices.emplace_back(*parts.prompt_model.vocabulary, text);
      plan->choices.back().add_echo(prompt.echo);
      submission.push_back(std::move(choice));
    }
  }
  return submission;
}

api::Error Impl::refusal(engine::Admission admission, AnswerKind kind) const {
  const std::string_view param = kind == AnswerKind::kChat ? "messages" : "prompt";
  switch (admission) {
    case engine::Admission::kTooLong:
      return api::context_too_long(param, "the prompt leaves no room for an answer");
    case engine::Admission::kBadPrompt:
      return api::invalid_field(param, "the prompt has no token or an unknown one");
    case engine::Admission::kDraining:
      return shutting_down();
    case engine::Admission::kQueueFull:
    case engine::Admission::kAccepted:
      break;
  }
  return api::overloaded("the queue of requests is full",
                         whole_seconds(parts.engine.stats().retry_after_ns));
}

api::Error Impl::shutting_down() const {
  return api::overloaded("the server is shutting down", whole_seconds(config.drain_timeout_ns));
}

void Impl::end_drain_if_idle() {
  if (!draining || !on_drained || preparing > 0 || !generations.empty()) return;
  event_streams.finish_all();
  http.stop_accepting();
  http.on_idle([this] { finish_drain(); });
}

void Impl::finish_drain() {
  if (on_drained) std::exchange(on_drained, {})();
}

void Impl::give_up_drain() {
  constexpr int64_t kLastWordsNs = 2'000'000'000;
  generations.cancel_all();
  drain_timer.start(kLastWordsNs, [this] { finish_drain(); });
}

void ApiServer::drain(net::Task on_drained) {
  Impl& impl = *impl_;
  if (impl.draining) return;
  impl.draining = true;
  impl.on_drained = std::move(on_drained);
  impl.parts.engine.drain();
  impl.event_streams.drain();
  impl.drain_timer.start(impl.config.drain_timeout_ns, [&impl] { impl.give_up_drain(); });
  impl.end_drain_if_idle();
}

}  // namespace sluice::server
