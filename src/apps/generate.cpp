// sluice generate MODEL: continues a list of token ids.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "apps/model/model_options.h"
#include "apps/model/token_ids.h"
#include "apps/verbs.h"
#include "core/rng.h"
#include "model/single_sequence.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

constexpr int32_t kStepTokens = 256;

struct Options {
  ModelOptions model;
  std::string ids;
  int32_t count = 48;
  bool greedy = false;
  float temperature = 1;
  uint64_t seed = 0;
  bool stop_at_end = false;
  std::string output = "text";
};

// One id from the distribution, by the random number of its position.
int32_t sample(const kernels::Ops& ops, const Options& options, int64_t position,
               std::vector<float>* logits) {
  const auto count = static_cast<int64_t>(logits->size());
  if (options.greedy) return ops.argmax(logits->data(), count);
  ops.softmax(logits->data(), count, 1 / options.temperature, logits->data());
  double left = core::random_unit(options.seed, static_cast<uint64_t>(position));
  for (size_t id = 0; id < logits->size(); ++id) {
    left -= static_cast<double>((*logits)[id]);
    if (left < 0) return static_cast<int32_t>(id);
  }
  return ops.argmax(logits->data(), count);  // the sum fell short of 1 by rounding
}

core::Result<std::vector<int32_t>> generate(const Options& options) {
  const std::vector<int32_t> ids = TRY(read_token_ids(options.ids));
  const int64_t tokens_max = static_cast<int64_t>(ids.size()) + options.count;
  const OpenedModel opened = TRY(open_model(options.model, kStepTokens, tokens_max));
  model::Model& model = *opened.model;
  if (auto checked = check_token_ids(ids, model.spec().vocab); !checked.ok())
    return checked.error();
  std::vector<int32_t> end_ids;
  if (options.stop_at_end) {
    const auto vocabulary =
        TRY(tokenizer::open_vocabulary(options.model.model, *opened.checkpoint));
    end_ids.assign(vocabulary.end_of_generation().begin(), vocabulary.end_of_generation().end());
  }
  std::vector<float> logits(static_cast<size_t>(model.spec().vocab));
  std::vector<int32_t> generated;
  model::SingleSequence sequence(model, 0, tokens_max);
  std::span<const int32_t> next = ids;
  while (static_cast<int32_t>(generated.size()) < options.count) {
    sequence.append({.ids = next, .chunk = kStepTokens, .logit_count = 1}, logits.data());
    generated.push_back(sample(model.ops(), options, sequence.position(), &logits));
    if (std::find(end_ids.begin(), end_ids.end(), generated.back()) != end_ids.end()) break;
    next = std::span(generated).last(1);
  }
  return generated;
}

}  // namespace

int run_generate(int argc, char** argv) {
  Options options;
  CLI::App app{"Continues a list of token ids. Runs past end tokens unless told to stop.",
               "sluice generate"};
  add_model_options(app, &options.model);
  app.add_option("--ids", options.ids, "JSON file with an array of token ids; - is standard input")
      ->required();
  app.add_option("-n,--count", options.count, "ids to generate")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  auto* greedy = app.add_flag("--greedy", options.greedy, "the best id at each step");
  app.add_option("--temperature", options.temperature, "sample at this temperature")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0))
      ->excludes(greedy);
  app.add_option("--seed", options.seed, "of the random numbers")
      ->capture_default_str()
      ->excludes(greedy);
  app.add_flag("--stop-at-end", options.stop_at_end, "stop after the model's end token");
  add_output_option(app, &options.output);
  app.footer("Example: echo '[1, 4093, 198]' | sluice generate model.gguf --ids - -n 16 --greedy");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto ids = generate(options);
  if (!ids.ok()) return report("generate", ids.error());
  if (options.output == "json")
    fmt::print("{{\"ids\":[{}]}}\n", fmt::join(*ids, ","));
  else
    fmt::print("{}\n", fmt::join(*ids, " "));
  return 0;
}

}  // namespace sluice::apps
