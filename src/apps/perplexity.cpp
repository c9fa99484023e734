// sluice perplexity MODEL -f TEXT: how well the model predicts a text.
#include "model/perplexity.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/model_options.h"
#include "apps/progress.h"
#include "apps/verbs.h"
#include "formats/byte_source.h"
#include "tokenizer/encoder.h"
#include "tokenizer/gguf_vocabulary.h"

namespace sluice::apps {
namespace {

constexpr int32_t kStepTokens = 64;

struct Options {
  ModelOptions model;
  std::string file;
  int32_t context = 512;
  std::string output = "text";
};

struct Outcome {
  double perplexity = 0;
  int64_t tokens = 0;  // that were predicted
};

core::Result<std::vector<int32_t>> tokenize(const formats::Checkpoint& checkpoint,
                                            const std::string& path) {
  const auto vocabulary = TRY(tokenizer::read_gguf_vocabulary(checkpoint.metadata()));
  const auto source = TRY(formats::map_file(path));
  tokenizer::Encoder encoder(vocabulary);
  return encoder.encode(
      {reinterpret_cast<const char*>(source->bytes().data()), source->bytes().size()},
      {.special_text = tokenizer::SpecialText::kPlain,
       .surrounding_ids = tokenizer::SurroundingIds::kAdd});
}

Outcome score(model::Model& model, std::span<const int32_t> ids, int32_t context) {
  const auto windows = static_cast<int64_t>(ids.size()) / context;
  Progress progress("perplexity");
  model::PerplexityScorer scorer(model, context);
  model::PerplexitySum sum;
  for (int64_t window = 0; window < windows; ++window) {
    const auto found = scorer.score(
        ids.subspan(static_cast<size_t>(window * context), static_cast<size_t>(context)));
    sum.negative_log_likelihood += found.negative_log_likelihood;
    sum.tokens += found.tokens;
    progress.update(window + 1, windows);
  }
  return {sum.perplexity(), sum.tokens};
}

core::Result<Outcome> measure(const Options& options) {
  const OpenedModel opened = TRY(open_model(options.model, kStepTokens, options.context));
  const std::vector<int32_t> ids = TRY(tokenize(*opened.checkpoint, options.file));
  if (static_cast<int64_t>(ids.size()) < options.context)
    return core::invalid("'{}': {} tokens, expected at least --ctx {}", options.file, ids.size(),
                         options.context);
  return score(*opened.model, ids, options.context);
}

}  // namespace

int run_perplexity(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Perplexity on a text, in windows of --ctx tokens whose second half is predicted (as\n"
      "llama-perplexity counts).",
      "sluice perplexity"};
  add_model_options(app, &options.model);
  app.add_option("-f,--file", options.file, "UTF-8 text")->required();
  app.add_option("--ctx", options.context, "tokens of a window")->check(CLI::Range(4, 1 << 20));
  add_output_option(app, &options.output);
  app.footer("Example: sluice perplexity model.gguf -f text.txt --ctx 512 -o json");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto outcome = measure(options);
  if (!outcome.ok()) return report("perplexity", outcome.error());
  if (options.output == "json")
    fmt::print("{{\"perplexity\":{:.6f},\"tokens\":{}}}\n", outcome->perplexity, outcome->tokens);
  else
    fmt::print("perplexity {:.4f} over {} tokens\n", outcome->perplexity, outcome->tokens);
  return 0;
}

}  // namespace sluice::apps
