// A model with what turns text into its token ids, and the engine options of a command line: what
// `serve` and `chat` have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/model/model_options.h"
#include "apps/model/speculation_options.h"
#include "core/result.h"
#include "engine/engine.h"
#include "prompt/model_text.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct ServedModelOptions {
  ModelOptions model;
  std::string chat_template;  // a file, instead of the model's own
  std::string kv_budget = "2GiB";
  int64_t context_tokens_max = 0;  // 0: as many as the model was made for and the KV budget holds
  double tpot_target_ms = 0;       // 0: none
  SpeculationOptions speculation;
  engine::EngineLimits limits;
};

// MODEL and its options, --chat-template, --kv-budget, --context-length and the engine's limits.
void add_served_model_options(CLI::App& app, ServedModelOptions* options);

struct ServedModel {
  OpenedModel opened;
  prompt::ModelText text;
  int64_t kv_budget_bytes = 0;
  engine::EngineConfig engine;
};

// Loads the model, allocates its KV and derives the engine's configuration. An Error also where the
// options contradict each other.
core::Result<ServedModel> open_served_model(const ServedModelOptions& options);

// What the memory goes to and what the limits are, some lines for a person.
std::string describe(const ServedModel& served);

}  // namespace sluice::apps
