#include "server/prepare.h"

#include <algorithm>

#include <fmt/format.h>

#include "tokenizer/decoder.h"

namespace sluice::server {
namespace {

// What a client that does not care says: always the model that is served.
constexpr std::string_view kAnyModel = "default";

api::Parsed<std::monostate> check_model(const std::string& model, const PrepareContext& context) {
  const auto& names = context.model_names;
  if (model.empty() || model == kAnyModel ||
      std::find(names.begin(), names.end(), model) != names.end())
    return std::monostate();
  return api::model_not_found(model);
}

api::Parsed<std::monostate> check_gateway(const api::GenerationFields& fields,
                                          const PrepareContext& context) {
  if (!fields.gateway) return std::monostate();
  switch (context.gateway_key) {
    case GatewayKey::kValid:
      return std::monostate();
    case GatewayKey::kNotConfigured:
      return api::unsupported_field(
          "sluice", "'sluice' is a gateway's: this server was started without --gateway-key-file");
    case GatewayKey::kNone:
    case GatewayKey::kWrong:
      break;
  }
  return api::not_the_gateway(context.gateway_key == GatewayKey::kNone
                                  ? "'sluice' is a gateway's: it sends its key as x-sluice-key"
                                  : "x-sluice-key is not this server's gateway key");
}

// One text goes on where it was cut.
api::Parsed<std::monostate> check_one_stream(const PreparedGeneration& prepared) {
  const auto& gateway = prepared.fields.gateway;
  if (!gateway) return std::monostate();
  const bool one = prepared.fields.n == 1 && prepared.prompts.size() == 1;
  if (!gateway->prompt_ids.empty() && prepared.prompts.size() > 1)
    return api::invalid_field("sluice.prompt_ids", "'sluice.prompt_ids' is for one prompt");
  if (gateway->resume_ids.empty()) return std::monostate();
  if (!one || prepared.echo || prepared.logprobs_top >= 0)
    return api::invalid_field("sluice.resume_ids",
                              "'sluice.resume_ids' is for one prompt and one answer, without "
                              "'echo' and 'logprobs'");
  return std::monostate();
}

api::Parsed<PreparedGeneration> prepare_chat(std::string_view body, const PrepareContext& context) {
  const api::ChatRequest request = TRY(api::parse_chat_request(body, context.limits));
  TRY(check_gateway(request.generation, context));
  TRY(check_model(request.generation.model, context));
  PreparedGeneration prepared{
      .kind = AnswerKind::kChat, .fields = request.generation, .prompts = {}};
  prepared.prompts.push_back(TRY(context.builder.chat(request)));
  if (request.logprobs) prepared.logprobs_top = static_cast<int32_t>(request.top_logprobs);
  TRY(check_one_stream(prepared));
  return prepared;
}

api::Parsed<PreparedGeneration> prepare_completion(std::string_view body,
                                                   const PrepareContext& context) {
  const api::CompletionRequest request = TRY(api::parse_completion_request(body, context.limits));
  TRY(check_gateway(request.generation, context));
  TRY(check_model(request.generation.model, context));
  const auto choices = static_cast<int64_t>(request.prompts.size()) * request.generation.n;
  if (choices > context.limits.choices_max)
    return api::invalid_field("n", fmt::format("'prompt' and 'n' ask for {} choices, at most {} "
                                               "are allowed",
                                               choices, context.limits.choices_max));
  PreparedGeneration prepared{
      .kind = AnswerKind::kCompletion, .fields = request.generation, .prompts = {}};
  prepared.prompts = TRY(context.builder.completions(request));
  prepared.echo = request.echo;
  if (request.logprobs) prepared.logprobs_top = static_cast<int32_t>(*request.logprobs);
  TRY(check_one_stream(prepared));
  return prepared;
}

}  // namespace

api::Parsed<PreparedGeneration> prepare_generation(AnswerKind kind, std::string_view body,
                                                   PrepareContext context) {
  return kind == AnswerKind::kChat ? prepare_chat(body, context)
                                   : prepare_completion(body, context);
}

api::Parsed<std::string> answer_tokenize(std::string_view body, PrepareContext context,
                                         const prompt::PromptModel& model) {
  const api::TokenizeRequest request = TRY(api::parse_tokenize_request(body, context.limits));
  TRY(check_model(request.model, context));
  const std::vector<int32_t> ids = TRY(context.builder.tokenize(request));
  api::TokenizeAnswer answer{
      .token_ids = ids, .context_tokens_max = model.context_tokens_max, .texts = std::nullopt};
  if (request.return_texts) {
    answer.texts.emplace();
    for (const int32_t id : ids) answer.texts->emplace_back(model.vocabulary->bytes(id));
  }
  return api::tokenize_json(answer);
}

api::Parsed<std::string> answer_detokenize(std::string_view body, PrepareContext context,
                                           const prompt::PromptModel& model) {
  const api::DetokenizeRequest request =
      TRY(api::parse_detokenize_request(body, model.context_tokens_max));
  TRY(check_model(request.model, context));
  for (const int32_t id : request.token_ids)
    if (!model.vocabulary->contains(id))
      return api::invalid_field("tokens",
                                fmt::format("'tokens' has the token id {}, the model's go "
                                            "from 0 to {}",
                                            id, model.vocabulary->size() - 1));
  return api::detokenize_json(tokenizer::decode(
      *model.vocabulary, request.token_ids,
      {.special = tokenizer::SpecialOutput::kKeep, .start = tokenizer::DecodeStart::kText}));
}

}  // namespace sluice::server
