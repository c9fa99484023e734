// sluice perplexity MODEL -f TEXT: how well the model predicts a text.
#include "model/perplexity.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "apps/model/model_options.h"
#include "apps/terminal/progress.h"
#include "apps/verbs.h"
#include "formats/byte_source.h"
#include "tokenizer/encoder.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

struct Options {
  ModelOptions model;
  std::string base;  // model to compare with; empty: none
  std::string file;
  std::string base_place;  // empty: the model's
  int32_t context = 512;
  int32_t step_tokens = 64;
  std::string output = "text";
};

core::Result<std::vector<int32_t>> tokenize(const std::string& model,
                                            const formats::Checkpoint& checkpoint,
                                            const Options& options) {
  const auto vocabulary = TRY(tokenizer::open_vocabulary(model, checkpoint));
  const auto source = TRY(formats::map_file(options.file));
  tokenizer::Encoder encoder(vocabulary);
  std::vector<int32_t> ids = encoder.encode(
      {reinterpret_cast<const char*>(source->bytes().data()), source->bytes().size()},
      {.special_text = tokenizer::SpecialText::kPlain,
       .surrounding_ids = tokenizer::SurroundingIds::kAdd});
  if (std::ssize(ids) < options.context)
    return core::invalid("'{}': {} tokens, expected at least --ctx {}", options.file, ids.size(),
                         options.context);
  return ids;
}

template <typename AddWindow>
void for_windows(std::span<const int32_t> ids, int32_t context, const AddWindow& add) {
  const int64_t windows = std::ssize(ids) / context;
  Progress progress("perplexity");
  for (int64_t window = 0; window < windows; ++window) {
    add(ids.subspan(static_cast<size_t>(window * context), static_cast<size_t>(context)));
    progress.update(window + 1, windows);
  }
}

core::Result<void> measure_alone(const Options& options) {
  const OpenedModel opened = TRY(open_model(options.model, options.step_tokens, options.context));
  const std::vector<int32_t> ids = TRY(tokenize(options.model.model, *opened.checkpoint, options));
  model::WindowLogits logits(*opened.model, options.context);
  model::PerplexitySum sum;
  for_windows(ids, options.context,
              [&](std::span<const int32_t> window) { add_window(logits, window, &sum); });
  if (options.output == "json")
    fmt::print("{{\"perplexity\":{:.6f},\"tokens\":{}}}\n", sum.perplexity(), sum.tokens);
  else
    fmt::print("perplexity {:.4f} over {} tokens\n", sum.perplexity(), sum.tokens);
  return {};
}

void print_comparison(const model::DivergenceSum& sum, const std::string& output) {
  if (output == "json") {
    fmt::print(
        "{{\"perplexity\":{:.6f},\"tokens\":{},\"base_perplexity\":{:.6f},\"kl_mean\":{:.8f},"
        "\"kl_p99\":{:.8f},\"top1_agreement\":{:.6f}}}\n",
        sum.model.perplexity(), sum.model.tokens, sum.base.perplexity(), sum.mean(),
        sum.quantile(0.99), sum.top_agreement());
    return;
  }
  fmt::print("perplexity {:.4f}, of the base {:.4f}, over {} tokens\n", sum.model.perplexity(),
             sum.base.perplexity(), sum.model.tokens);
  fmt::print("KL divergence from the base: mean {:.6f}, p99 {:.6f} nats a token\n", sum.mean(),
             sum.quantile(0.99));
  fmt::print("same likeliest token: {:.2f} %\n", 100 * sum.top_agreement());
}

core::Result<void> compare(const Options& options) {
  const OpenedModel opened = TRY(open_model(options.model, options.step_tokens, options.context));
  ModelOptions base_options = options.model;
  base_options.model = options.base;
  base_options.hybrid = {};
  if (!options.base_place.empty()) base_options.place = options.base_place;
  const OpenedModel base = TRY(open_model(base_options, options.step_tokens, options.context));
  const std::vector<int32_t> ids = TRY(tokenize(options.model.model, *opened.checkpoint, options));
  if (TRY(tokenize(options.base, *base.checkpoint, options)) != ids ||
      base.model->spec().vocab != opened.model->spec().vocab)
    return core::invalid("--kl-against '{}': another vocabulary than '{}'", options.base,
                         options.model.model);
  model::WindowLogits own(*opened.model, options.context), others(*base.model, options.context);
  model::DivergenceSum sum;
  for_windows(ids, options.context,
              [&](std::span<const int32_t> window) { add_window(own, others, window, &sum); });
  print_comparison(sum, options.output);
  return {};
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
  app.add_option("--ctx", options.context, "tokens of a window")
      ->capture_default_str()
      ->check(CLI::Range(4, 1 << 20));
  app.add_option("--kl-against", options.base,
                 "also compare each prediction with this model's: Kullback-Leibler divergence and\n"
                 "agreement on the likeliest token");
  app.add_option("--base-place", options.base_place,
                 "--place of that model, which runs without --prefer-resident and --defer-experts");
  app.add_option("--step-tokens", options.step_tokens, "of a window at once; 1: as decode does")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  add_output_option(app, &options.output);
  app.footer("Example: sluice perplexity q4.gguf -f text.txt --kl-against f16.gguf -o json");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto measured = options.base.empty() ? measure_alone(options) : compare(options);
  if (!measured.ok()) return report("perplexity", measured.error());
  return 0;
}

}  // namespace sluice::apps
