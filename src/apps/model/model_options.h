// The options that every verb with a model has in common, and the model they name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct ModelOptions {
  std::string model;
  int threads = 0;  // 0: every core that the process may use
  bool exact = false;
  std::string kernels;
  std::string kv_type = "auto";
  model::DraftLayers drafts = model::DraftLayers::kLeave;  // not an option of its own
  std::string device = "cpu";
  model::HybridOptions hybrid;
  bool is_deterministic = false;
  int64_t kv_bytes = 0;  // not an option of its own: what hot experts leave for KV
  std::string place;     // as model::Placement::parse() reads it; empty: all on the device
};

// MODEL, -t/--threads, --exact, --kernels.
void add_processor_options(CLI::App& app, ModelOptions* options);
// Those, --kv-type, --device, --place and what it allows.
void add_model_options(CLI::App& app, ModelOptions* options);

struct OpenedModel {
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<model::Model> model;
  std::string placement;  // where its weights lie, as model::describe() has it; empty: no device
};

// Loads it with a progress bar on a terminal. KV for `kv_tokens` tokens is allocated.
core::Result<OpenedModel> open_model(const ModelOptions& options, int32_t step_tokens_max,
                                     int64_t kv_tokens);
// Of a checkpoint that is open instead of options.model.
core::Result<OpenedModel> open_model(const ModelOptions& options,
                                     std::unique_ptr<formats::Checkpoint> checkpoint,
                                     int32_t step_tokens_max, int64_t kv_tokens);

// What computes: the kernel table's name, or the device's backend and name.
std::string kernels_name(const model::Model& model);

// -o text|json
void add_output_option(CLI::App& app, std::string* output);

// Parses the command line; the exit code to return where the verb must not run (help, wrong usage).
struct ParseOutcome {
  bool run = false;
  int exit_code = 0;
};
ParseOutcome parse_options(CLI::App& app, int argc, char** argv);

// "sluice VERB: message" on stderr; returns exit code 1.
int report(const char* verb, const core::Error& error);

}  // namespace sluice::apps
