// sluice logits MODEL: the logits after a list of token ids.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/model/model_options.h"
#include "apps/model/token_ids.h"
#include "apps/verbs.h"
#include "model/single_sequence.h"

namespace sluice::apps {
namespace {

constexpr int32_t kStepTokens = 256;

struct Options {
  ModelOptions model;
  std::string ids;
  int64_t top = 64;
  bool hidden = false;
  bool experts = false;
  std::string output = "text";
};

// Where a layer sent the last id.
struct Routing {
  int32_t layer = 0;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

struct Outcome {
  std::vector<kernels::ScoredId> top;
  double logsumexp = 0;
  double mean = 0;
  std::vector<std::vector<float>> hidden;  // of the last id: embedding, each layer, final norm
  std::vector<Routing> routing;
};

core::Result<Outcome> compute(const Options& options) {
  const std::vector<int32_t> ids = TRY(read_token_ids(options.ids));
  const auto tokens = static_cast<int64_t>(ids.size());
  const OpenedModel opened = TRY(open_model(options.model, kStepTokens, tokens));
  model::Model& model = *opened.model;
  if (auto checked = check_token_ids(ids, model.spec().vocab); !checked.ok())
    return checked.error();
  const auto vocab = int64_t{model.spec().vocab};
  if (options.top > vocab)
    return core::invalid("--top {}: the model has {} ids", options.top, vocab);

  Outcome outcome;
  outcome.hidden.resize(static_cast<size_t>(model.spec().layers) + 2);
  const model::HiddenObserver observer = [&](int32_t layer, std::span<const float> rows) {
    outcome.hidden[static_cast<size_t>(layer + 1)].assign(rows.end() - model.spec().hidden,
                                                          rows.end());
  };
  const auto used = static_cast<size_t>(model.spec().experts.used);
  const model::RoutingObserver routing_observer = [&](int32_t layer, std::span<const int32_t> to,
                                                      std::span<const float> weights) {
    if (!outcome.routing.empty() && outcome.routing.back().layer >= layer) outcome.routing.clear();
    outcome.routing.push_back({layer,
                               {to.end() - static_cast<ptrdiff_t>(used), to.end()},
                               {weights.end() - static_cast<ptrdiff_t>(used), weights.end()}});
  };
  std::vector<float> logits(static_cast<size_t>(vocab));
  model::SingleSequence sequence(model, 0, tokens);
  sequence.append({.ids = ids,
                   .chunk = kStepTokens,
                   .logit_count = 1,
                   .observer = options.hidden ? &observer : nullptr,
                   .routing_observer = options.experts ? &routing_observer : nullptr},
                  logits.data());
  outcome.top.resize(static_cast<size_t>(options.top));
  model.ops().top_k(logits.data(), vocab, options.top, outcome.top.data());
  outcome.logsumexp = model.ops().logsumexp(logits.data(), vocab);
  for (const float x : logits) outcome.mean += static_cast<double>(x) / static_cast<double>(vocab);
  return outcome;
}

void print_json(const Options& options, const Outcome& outcome) {
  nlohmann::ordered_json out;
  for (const kernels::ScoredId& s : outcome.top) out["top"].push_back({s.id, s.score});
  out["logsumexp"] = outcome.logsumexp;
  out["mean"] = outcome.mean;
  if (options.hidden) {
    auto& hidden = out["hidden"];
    hidden["embedding"] = outcome.hidden.front();
    hidden["after_layer"] = std::vector(outcome.hidden.begin() + 1, outcome.hidden.end() - 1);
    hidden["after_final_norm"] = outcome.hidden.back();
  }
  if (options.experts) {
    auto& experts = out["experts"] = nlohmann::ordered_json::array();
    for (const Routing& r : outcome.routing)
      experts.push_back({{"layer", r.layer}, {"experts", r.experts}, {"weights", r.weights}});
  }
  fmt::print("{}\n", out.dump());
}

void print_text(const Options& options, const Outcome& outcome) {
  fmt::print("logsumexp {:.6f}  mean {:.6f}\n", outcome.logsumexp, outcome.mean);
  for (const kernels::ScoredId& s : outcome.top) fmt::print("{:>8} {:12.6f}\n", s.id, s.score);
  for (const Routing& r : outcome.routing) {
    fmt::print("layer {}:", r.layer);
    for (size_t i = 0; i < r.experts.size(); ++i)
      fmt::print(" {} ({:.4f})", r.experts[i], r.weights[i]);
    fmt::print("\n");
  }
  if (!options.hidden) return;
  for (size_t i = 0; i < outcome.hidden.size(); ++i) {
    fmt::print("state {}:", i);
    for (const float x : outcome.hidden[i]) fmt::print(" {:.6g}", x);
    fmt::print("\n");
  }
}

}  // namespace

int run_logits(int argc, char** argv) {
  Options options;
  CLI::App app{"The logits after a list of token ids: the best ones, their log-sum-exp and mean.",
               "sluice logits"};
  add_model_options(app, &options.model);
  app.add_option("--ids", options.ids, "JSON file with an array of token ids; - is standard input")
      ->required();
  app.add_option("--top", options.top, "how many of the best ids to print")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  app.add_flag("--hidden", options.hidden, "also the hidden state after each layer");
  app.add_flag("--experts", options.experts, "also the experts that each layer chose");
  add_output_option(app, &options.output);
  app.footer("Example: echo '[1, 4093, 198]' | sluice logits model.gguf --ids - --top 5");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto outcome = compute(options);
  if (!outcome.ok()) return report("logits", outcome.error());
  if (options.output == "json")
    print_json(options, *outcome);
  else
    print_text(options, *outcome);
  return 0;
}

}  // namespace sluice::apps
