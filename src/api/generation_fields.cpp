#include "api/generation_fields.h"

#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "api/field_reader.h"

namespace sluice::api {
namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

// Known to clients of OpenAI, vLLM or llama.cpp, and not to be dropped in silence. Everything that
// is in no table (user, metadata, store, service_tier, …) has no effect on the answer; it and
// fields nobody knows are ignored, as vLLM does.
constexpr UnsupportedField kUnsupported[] = {
    {"response_format", is_text_format, "structured output is"},
    {"guided_json", never, "structured output is"},
    {"guided_regex", never, "structured output is"},
    {"guided_choice", never, "structured output is"},
    {"guided_grammar", never, "structured output is"},
    {"structured_outputs", never, "structured output is"},
    {"grammar", never, "structured output is"},
    {"json_schema", never, "structured output is"},
    {"best_of", is_one, "sampling more candidates than are returned is"},
    {"use_beam_search", is_false, "beam search is"},
    {"length_penalty", is_one, "beam search is"},
    {"prompt_logprobs", never,
     "log probabilities of the prompt (other than echo with logprobs) are"},
    {"truncate_prompt_tokens", never, "cutting the prompt is"},
    {"bad_words", is_empty_list_or_object, "excluding words is (use logit_bias)"},
    {"allowed_token_ids", never, "restricting the vocabulary is (use logit_bias)"},
    {"logits_processors", is_empty_list_or_object, "loading code is"},
    {"return_tokens_as_token_ids", is_false, "token ids in place of texts are"},
    {"return_token_ids", is_false, "token ids in the answer are"},
    {"priority", is_zero, "priorities are"},
    {"kv_transfer_params", is_empty_list_or_object, "moving KV between servers is"},
    {"mirostat", is_zero, "mirostat is"},
    {"repeat_penalty", is_one, "llama.cpp's name is (use repetition_penalty)"},
    {"typical_p", is_one, "locally typical sampling is"},
    {"xtc_probability", is_zero, "excluding top choices is"},
    {"dry_multiplier", is_zero, "the DRY penalty is"},
    {"dynatemp_range", is_zero, "dynamic temperature is"},
    {"top_n_sigma", is_not_positive, "top-n-sigma sampling is"},
    {"n_predict", is_minus_one, "llama.cpp's name is (use max_tokens)"},
    {"n_probs", is_zero, "llama.cpp's name is (use logprobs)"},
    {"regex", never, "structured output is"},
    {"ebnf", never, "structured output is"},
    {"samplers", is_empty_list_or_object, "an order of samplers is"},
    {"stop_regex", is_empty_list_or_object, "stopping at a pattern is (use stop)"},
    {"custom_logit_processor", never, "loading code is"},
    {"lora", is_empty_list_or_object, "an adapter is"},
    {"lora_path", never, "an adapter is"},
    {"post_sampling_probs", is_false, "probabilities after sampling are"},
    {"return_hidden_states", is_false, "hidden states in the answer are"},
    {"repetition_detection", never, "ending an answer that repeats itself is"},
    {"t_max_predict_ms", is_not_positive, "a limit of an answer's time is"},
};

Parsed<std::vector<std::pair<int32_t, float>>> parse_logit_bias(const FieldReader& fields,
                                                                const RequestLimits& limits) {
  std::vector<std::pair<int32_t, float>> biases;
  const Json* json = fields.find("logit_bias");
  if (json == nullptr) return biases;
  const auto* object = json->as<Json::Object>();
  if (object == nullptr)
    return fields.wrong_type("logit_bias", "an object of token id to bias", *json);
  if (static_cast<int64_t>(object->size()) > limits.logit_biases_max)
    return invalid_field("logit_bias", fmt::format("'logit_bias' has {} entries, at most {} are "
                                                   "allowed",
                                                   object->size(), limits.logit_biases_max));
  for (const auto& [key, value] : *object) {
    int32_t id = -1;
    std::from_chars(key.data(), key.data() + key.size(), id);
    if (id < 0 || fmt::format("{}", id) != key)  // "07" would be a second name of "7"
      return invalid_field("logit_bias",
                           fmt::format("'logit_bias' has the key '{}', which is no token id", key));
    if (value.is_null()) continue;
    const double bias = TRY(to_number(value, "logit_bias." + key, {.least = -100, .most = 100}));
    biases.emplace_back(id, static_cast<float>(bias));
  }
  return biases;
}

Parsed<SamplingFields> parse_sampling(const FieldReader& fields, const RequestLimits& limits) {
  SamplingFields out;
  const auto number = [&](std::string_view key, NumberRange range,
                          double* value) -> Parsed<std::monostate> {
    *value = TRY(fields.number(key, range)).value_or(*value);
    return std::monostate();
  };
  TRY(number("temperature", {.least = 0, .most = 2}, &out.temperature));
  TRY(number("top_p", {.least = 0, .most = 1, .least_excluded = true}, &out.top_p));
  TRY(number("min_p", {.least = 0, .most = 1}, &out.min_p));
  TRY(number("repetition_penalty", {.least = 0, .most = 100, .least_excluded = true},
             &out.repetition_penalty));
  TRY(number("presence_penalty", {.least = -2, .most = 2}, &out.presence_penalty));
  TRY(number("frequency_penalty", {.least = -2, .most = 2}, &out.frequency_penalty));
  const auto top_k = TRY(fields.integer("top_k", {.least = -1, .most = kInt32Max}));
  out.top_k = top_k.value_or(0) > 0 ? *top_k : 0;
  out.seed = TRY(fields.integer("seed", {.least = -kInt64Max - 1, .most = kInt64Max}));
  out.logit_bias = TRY(parse_logit_bias(fields, limits));
  return out;
}

Parsed<StopFields> parse_stopping(const FieldReader& fields, const RequestLimits& limits) {
  StopFields out;
  out.stop = TRY(fields.strings(
      "stop", {.items_max = limits.stops_max, .item_bytes_max = limits.stop_bytes_max}));
  out.stop_token_ids =
      TRY(fields.token_ids("stop_token_ids", {.items_max = limits.stop_token_ids_max}));
  out.min_tokens = TRY(fields.integer("min_tokens", {.least = 0, .most = kInt32Max})).value_or(0);
  out.ignore_eos = TRY(fields.boolean("ignore_eos")).value_or(false);
  out.include_stop_text = TRY(fields.boolean("include_stop_str_in_output")).value_or(false);
  return out;
}

Parsed<StreamFields> parse_streaming(const FieldReader& fields) {
  StreamFields out;
  out.stream = TRY(fields.boolean("stream")).value_or(false);
  const Json* options = fields.find("stream_options");
  if (options == nullptr) return out;
  if (options->as<Json::Object>() == nullptr)
    return fields.wrong_type("stream_options", "an object", *options);
  if (!out.stream)
    return invalid_field("stream_options", "'stream_options' is only allowed with 'stream': true");
  const FieldReader reader(*options, "stream_options.");
  out.include_usage = TRY(reader.boolean("include_usage")).value_or(false);
  out.continuous_usage_stats = TRY(reader.boolean("continuous_usage_stats")).value_or(false);
  return out;
}

}  // namespace

Parsed<GenerationFields> parse_generation_fields(const Json& body, const RequestLimits& limits) {
  const FieldReader fields(body);
  TRY(refuse_unsupported(fields, kUnsupported));
  GenerationFields out;
  out.model = TRY(fields.string("model")).value_or("");
  out.sampling = TRY(parse_sampling(fields, limits));
  out.stopping = TRY(parse_stopping(fields, limits));
  out.streaming = TRY(parse_streaming(fields));
  out.n = TRY(fields.integer("n", {.least = 1, .most = limits.n_max})).value_or(1);
  out.skip_special_tokens = TRY(fields.boolean("skip_special_tokens")).value_or(true);
  out.cache_salt = TRY(fields.string("cache_salt")).value_or("");
  out.gateway = TRY(parse_gateway_fields(body));
  return out;
}

}  // namespace sluice::api
