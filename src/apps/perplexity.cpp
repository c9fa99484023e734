// sluice perplexity MODEL -f TEXT: how well the model predicts a text.
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/model_options.h"
#include "apps/progress.h"
#include "apps/verbs.h"
#include "formats/byte_source.h"
#include "model/single_sequence.h"
#include "tokenizer/encoder.h"
#include "tokenizer/gguf_vocabulary.h"

namespace sluice::apps {
namespace {

constexpr int32_t kStepTokens = 64;  // of the scored half: each has a row of logits

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

// Windows that do not overlap; the first half of each is context, the ids after it are predicted.
Outcome score(model::Model& model, std::span<const int32_t> ids, int32_t context) {
  const int32_t scored = context - context / 2 - 1;
  const auto vocab = int64_t{model.spec().vocab};
  const auto windows = static_cast<int64_t>(ids.size()) / context;
  std::vector<float> logits(static_cast<size_t>(kStepTokens * vocab));
  Progress progress("perplexity");
  double negative_log_likelihood = 0;
  for (int64_t window = 0; window < windows; ++window) {
    const auto part =
        ids.subspan(static_cast<size_t>(window * context), static_cast<size_t>(context));
    model::SingleSequence sequence(model, 0, context);
    sequence.append({.ids = part.first(static_cast<size_t>(context / 2)), .chunk = kStepTokens},
                    logits.data());
    for (int32_t done = 0; done < scored; done += kStepTokens) {
      const int32_t rows = std::min(kStepTokens, scored - done);
      const auto step = part.subspan(static_cast<size_t>(sequence.position()));
      sequence.append(
          {.ids = step.first(static_cast<size_t>(rows)), .chunk = kStepTokens, .logit_count = rows},
          logits.data());
      for (int32_t row = 0; row < rows; ++row) {
        const float* of_row = logits.data() + row * vocab;
        negative_log_likelihood += model.ops().logsumexp(of_row, vocab) -
                                   static_cast<double>(of_row[step[static_cast<size_t>(row + 1)]]);
      }
    }
    progress.update(window + 1, windows);
  }
  const int64_t tokens = windows * scored;
  return {std::exp(negative_log_likelihood / static_cast<double>(tokens)), tokens};
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
