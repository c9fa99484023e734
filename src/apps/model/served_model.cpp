#include "apps/model/served_model.h"

#include <algorithm>

#include <CLI/CLI.hpp>

#include "apps/model/byte_size.h"
#include "apps/process/resident_bytes.h"
#include "contract/block_hash.h"
#include "core/cpu.h"
#include "formats/byte_source.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

// The source of the chat template in use; empty where there is none.
core::Result<std::string> read_chat_template(const ServedModelOptions& options,
                                             const formats::Manifest& manifest) {
  if (options.chat_template.empty()) return manifest.chat_template;
  const auto file = TRY(formats::map_file(options.chat_template));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

core::Result<engine::EngineConfig> make_config(const ServedModelOptions& options,
                                               const ServedModel& served) {
  const model::Model& model = *served.opened.model;
  const int64_t page_tokens = kernels::kPageTokens;
  engine::EngineConfig config;
  config.limits = options.limits;
  config.limits.kv_pages = model.kv_pages();
  config.speculation = options.speculation.kind();
  TRY(check_speculation(options.speculation, model, options.model.model));
  const bool drafts = config.speculation != engine::Speculation::kOff;
  config.limits.logit_rows_max =
      std::max(config.limits.sequences_max, config.limits.logit_rows_max) +
      (drafts ? engine::kDraftRowsMax : 0);
  const int64_t held = model.kv_pages() * page_tokens;
  const int64_t made_for = served.opened.checkpoint->manifest().context_length;
  const int64_t natural = made_for > 0 ? std::min(made_for, held) : held;
  if (options.context_tokens_max > held)
    return core::invalid(
        "--context-length {} needs {} of KV, --kv-budget gives {} ({} tokens): raise the budget",
        options.context_tokens_max,
        byte_size_text(options.context_tokens_max * model.memory_plan().kv_token_bytes),
        byte_size_text(served.kv_budget_bytes), held);
  config.limits.context_tokens_max =
      options.context_tokens_max > 0 ? options.context_tokens_max : natural;
  if (config.limits.step_tokens_max <= config.limits.sequences_max)
    return core::invalid("--step-tokens is {}, it must be above --max-sequences ({})",
                         config.limits.step_tokens_max, config.limits.sequences_max);
  config.limits.chunk_tokens_max =
      std::min(config.limits.chunk_tokens_max, config.limits.step_tokens_max);
  TRY(engine::set_vocabulary({.tokens = served.text.vocabulary.size(),
                              .logit_columns = model.spec().vocab,
                              .end_token_ids = served.text.vocabulary.end_of_generation()},
                             &config));
  config.cache_namespace = contract::model_namespace(served.opened.checkpoint->manifest().digest,
                                                     static_cast<uint64_t>(model.kv_format()));
  config.tpot_target_ns = static_cast<int64_t>(options.tpot_target_ms * 1e6);
  return config;
}

}  // namespace

void add_served_model_options(CLI::App& app, ServedModelOptions* options) {
  add_model_options(app, &options->model);
  app.add_option("--chat-template", options->chat_template,
                 "Jinja file to use instead of the model's own template")
      ->check(CLI::ExistingFile);
  app.add_option("--kv-budget", options->kv_budget,
                 "memory for keys and values, running and cached")
      ->capture_default_str();
  app.add_option(
         "--context-length", options->context_tokens_max,
         "tokens of prompt and answer together; 0: the model's, if the KV budget holds them")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  app.add_option("--tpot-target-ms", options->tpot_target_ms,
                 "time per output token that prefill must leave to running requests; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  add_speculation_option(app, &options->speculation);
  engine::EngineLimits& limits = options->limits;
  const auto limit = [&](const char* name, int64_t* value, int64_t most, const char* help) {
    app.add_option(name, *value, help)
        ->capture_default_str()
        ->check(CLI::Range(int64_t{1}, most))
        ->group("Limits of the engine");
  };
  limit("--max-sequences", &limits.sequences_max, 4096, "requests that run at once");
  limit("--queue-max", &limits.queue_max, 1 << 20, "requests that may wait; then 503");
  limit("--step-tokens", &limits.step_tokens_max, 1 << 16, "tokens computed in one step");
  limit("--chunk-tokens", &limits.chunk_tokens_max, 1 << 16, "of these, of one prompt");
}

core::Result<ServedModel> open_served_model(const ServedModelOptions& options) {
  const int64_t budget = TRY(parse_byte_size(options.kv_budget));
  ModelOptions model_options = options.model;
  model_options.kv_bytes = budget;
  model_options.drafts = options.speculation.draft_layers();
  OpenedModel opened =
      TRY(open_model(model_options, static_cast<int32_t>(options.limits.step_tokens_max), 1));
  const std::string chat_template = TRY(read_chat_template(options, opened.checkpoint->manifest()));
  tokenizer::Vocabulary vocabulary =
      TRY(tokenizer::open_vocabulary(options.model.model, *opened.checkpoint));
  prompt::ModelText text = TRY(prompt::make_model_text(std::move(vocabulary), chat_template));
  ServedModel served{.opened = std::move(opened), .text = std::move(text), .engine = {}};
  served.kv_budget_bytes = budget;
  const int64_t pages = budget / served.opened.model->kv_page_bytes();
  if (pages < 1)
    return core::invalid("--kv-budget {} holds no page: one takes {}", options.kv_budget,
                         byte_size_text(served.opened.model->kv_page_bytes()));
  TRY(served.opened.model->allocate_kv(pages));
  served.engine = TRY(make_config(options, served));
  return served;
}

std::string describe(const ServedModel& served) {
  const formats::Manifest& manifest = served.opened.checkpoint->manifest();
  const model::Model& model = *served.opened.model;
  const model::MemoryPlan& plan = model.memory_plan();
  const engine::EngineLimits& limits = served.engine.limits;
  std::string text = fmt::format("model    {} ({}), made for {} tokens, digest {}\n", manifest.name,
                                 manifest.architecture, manifest.context_length, manifest.digest);
  text += fmt::format("machine  {}, kernels {}, {} threads\n", core::detect_cpu().model,
                      kernels_name(model), served.opened.model->pool().threads());
  const int64_t kv_bytes = limits.kv_pages * model.kv_page_bytes();
  const int64_t logit_bytes =
      limits.logit_rows_max * model.spec().vocab * static_cast<int64_t>(sizeof(float));
  const int64_t bytes = plan.weight_bytes + kv_bytes + plan.activation_bytes + logit_bytes;
  text += fmt::format("memory   {} = weights {} + KV {} + activations {} + logits {}\n",
                      byte_size_text(bytes), byte_size_text(plan.weight_bytes),
                      byte_size_text(kv_bytes), byte_size_text(plan.activation_bytes),
                      byte_size_text(logit_bytes));
  // The system gives memory away before it has it, and kills who takes what it was given.
  if (const int64_t there = machine_memory_bytes(); model.device() == nullptr && bytes > there)
    text += fmt::format("warning  this machine has {} of memory: lower --kv-budget ({} now)\n",
                        byte_size_text(there), byte_size_text(served.kv_budget_bytes));
  text +=
      fmt::format("KV       {} tokens in {} pages of {}; weights are {} in the file\n",
                  limits.kv_pages * kernels::kPageTokens, limits.kv_pages,
                  byte_size_text(model.kv_page_bytes()), byte_size_text(manifest.weights_bytes));
  text += fmt::format(
      "limits   context {} tokens, {} sequences at once, {} waiting, {} tokens a step\n",
      limits.context_tokens_max, limits.sequences_max, limits.queue_max, limits.step_tokens_max);
  return text;
}

}  // namespace sluice::apps
