#include "apps/bench/bench_drafts.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/bench/engine_load.h"
#include "core/cpu.h"
#include "formats/byte_source.h"
#include "tokenizer/encoder.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::apps {
namespace {

constexpr std::array<const char*, engine::kDraftKinds> kKindNames = {"ngram", "mtp"};
constexpr size_t kBeginnings = 8;  // streams whose prompts end at different tokens

enum class SameAnswers : uint8_t { kNo, kYes };

struct DraftSpeed {
  int32_t streams = 0;
  std::vector<double> off, on;  // tok/s of all streams, by repetition
  std::array<engine::DraftCounts, engine::kDraftKinds> counts{};
  int64_t tokens = 0;  // of all repetitions
  int64_t steps = 0;   // that these took, prompts among them
  SameAnswers same = SameAnswers::kYes;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<double> ratios(const DraftSpeed& speed) {
  std::vector<double> found;
  for (size_t r = 0; r < speed.on.size(); ++r) found.push_back(speed.on[r] / speed.off[r]);
  return found;
}

core::Result<std::vector<int32_t>> tokens_of(const BenchedModelOptions& benched,
                                             std::string_view text) {
  if (benched.is_synthetic()) {
    const int32_t vocab = TRY(read_geometry(benched.synth)).vocab;
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) % vocab);
    return ids;
  }
  const std::string& path = benched.model.model;
  const auto checkpoint = TRY(formats::Checkpoint::open(path));
  const auto vocabulary = TRY(tokenizer::open_vocabulary(path, *checkpoint));
  return tokenizer::Encoder(vocabulary)
      .encode(text, {.special_text = tokenizer::SpecialText::kParse,
                     .surrounding_ids = tokenizer::SurroundingIds::kAdd});
}

core::Result<std::vector<int32_t>> read_prompt(const DraftBenchOptions& options) {
  const auto file = TRY(formats::map_file(options.prompt_file));
  std::vector<int32_t> ids =
      TRY(tokens_of(options.benched,
                    {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}));
  if (ids.size() <= kBeginnings)
    return core::invalid("--prompt-file '{}': {} tokens, expected at least {}", options.prompt_file,
                         ids.size(), kBeginnings + 1);
  return ids;
}

EngineLoad::Config engine_config(const DraftBenchOptions& options, int64_t prompt_tokens,
                                 int32_t streams, engine::Speculation speculation) {
  return {.streams = streams,
          .tokens_max = prompt_tokens + options.answer_tokens,
          .step_tokens_max = std::max(options.step_tokens, streams + engine::kDraftRowsMax + 1),
          .speculation = speculation};
}

DraftSpeed measure(model::Model& model, const DraftBenchOptions& options,
                   const std::vector<int32_t>& ids, int32_t streams) {
  Load load{.answer_tokens = options.answer_tokens};
  for (int32_t s = 0; s < streams; ++s) {
    load.prompts.push_back(ids);
    load.prompts.back().resize(ids.size() - static_cast<size_t>(s) % kBeginnings);
  }
  const auto config = [&](engine::Speculation speculation) {
    return engine_config(options, std::ssize(ids), streams, speculation);
  };
  EngineLoad plain(model, config(engine::Speculation::kOff));
  EngineLoad drafting(model, config(options.speculation.kind()));
  // What the engine learns in the first run, of the machine and of the text, stays.
  plain.run(load, PrefixCache::kForget);
  drafting.run(load, PrefixCache::kForget);
  const engine::EngineStats before = drafting.stats();
  DraftSpeed speed;
  speed.streams = streams;
  for (int32_t r = 0; r < options.repeats; ++r) {
    const LoadTimes off = plain.run(load, PrefixCache::kForget);
    const LoadTimes on = drafting.run(load, PrefixCache::kForget);
    speed.off.push_back(off.later_tok_s());
    speed.on.push_back(on.later_tok_s());
    speed.tokens += on.answer_tokens();
    if (on.answers != off.answers) speed.same = SameAnswers::kNo;
  }
  const engine::EngineStats& after = drafting.stats();
  speed.steps = after.steps - before.steps;
  for (size_t kind = 0; kind < speed.counts.size(); ++kind)
    speed.counts[kind] = {.drafted = after.drafts[kind].drafted - before.drafts[kind].drafted,
                          .accepted = after.drafts[kind].accepted - before.drafts[kind].accepted};
  return speed;
}

void print_text(const DraftSpeed& speed) {
  const std::vector<double> found = ratios(speed);
  fmt::print("{:>7} {:>10.1f} {:>10.1f} {:>7.2f} ({:.2f}–{:.2f})  {} steps for {} tokens",
             speed.streams, median(speed.off), median(speed.on), median(found),
             *std::min_element(found.begin(), found.end()),
             *std::max_element(found.begin(), found.end()), speed.steps, speed.tokens);
  for (size_t kind = 0; kind < speed.counts.size(); ++kind)
    if (const engine::DraftCounts& c = speed.counts[kind]; c.drafted > 0)
      fmt::print(", {}: {} of {} accepted ({:.1f} %)", kKindNames[kind], c.accepted, c.drafted,
                 100.0 * static_cast<double>(c.accepted) / static_cast<double>(c.drafted));
  fmt::print("{}\n", speed.same == SameAnswers::kYes ? "" : "; the answers differ");
}

nlohmann::ordered_json to_json(const DraftSpeed& speed, const DraftBenchOptions& options,
                               const OpenedModel& opened, int64_t prompt_tokens) {
  nlohmann::ordered_json drafts = nlohmann::ordered_json::object();
  for (size_t kind = 0; kind < speed.counts.size(); ++kind)
    drafts[kKindNames[kind]] = {{"drafted", speed.counts[kind].drafted},
                                {"accepted", speed.counts[kind].accepted}};
  return {{"model_name", opened.checkpoint->manifest().name},
          {"cpu_info", core::detect_cpu().model},
          {"kernels", kernels_name(*opened.model)},
          {"n_threads", opened.model->pool().threads()},
          {"n_prompt", prompt_tokens},
          {"n_gen", options.answer_tokens},
          {"n_streams", speed.streams},
          {"speculation", options.speculation.name},
          {"median_ts", median(speed.on)},
          {"median_ts_off", median(speed.off)},
          {"ratio", median(ratios(speed))},
          {"samples_ts", speed.on},
          {"samples_ts_off", speed.off},
          {"drafts", drafts},
          {"steps", speed.steps},
          {"tokens", speed.tokens},
          {"same_answers", speed.same == SameAnswers::kYes}};
}

}  // namespace

core::Result<void> bench_drafts(const DraftBenchOptions& options) {
  if (options.answer_tokens < 2)
    return core::invalid("--n-gen is {}: speed needs at least 2 tokens", options.answer_tokens);
  const std::vector<int32_t> ids = TRY(read_prompt(options));
  const int32_t streams_max =
      *std::max_element(options.stream_counts.begin(), options.stream_counts.end());
  const EngineLoad::Config widest =
      engine_config(options, std::ssize(ids), streams_max, options.speculation.kind());
  BenchedModelOptions benched = options.benched;
  benched.model.drafts = options.speculation.draft_layers();
  const OpenedModel opened =
      TRY(open_benched_model(benched, static_cast<int32_t>(widest.step_tokens_max),
                             EngineLoad::kv_tokens(widest, options.answer_tokens)));
  TRY(check_speculation(options.speculation, *opened.model,
                        benched.is_synthetic() ? benched.synth.name : benched.model.model));
  const bool text = options.output == "text";
  if (text)
    fmt::print(
        "{} · {} · {} threads · kernels {}\n{} tokens of '{}', {} after them, greedy, drafts: {}; "
        "tok/s of all streams, median of {}\n{:>7} {:>10} {:>10} {:>7}\n",
        opened.checkpoint->manifest().name, core::detect_cpu().model,
        opened.model->pool().threads(), kernels_name(*opened.model), ids.size(),
        options.prompt_file, options.answer_tokens, options.speculation.name, options.repeats,
        "streams", "without", "with", "ratio");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const int32_t streams : options.stream_counts) {
    const DraftSpeed speed = measure(*opened.model, options, ids, streams);
    if (text)
      print_text(speed);
    else
      rows.push_back(to_json(speed, options, opened, std::ssize(ids)));
  }
  if (!text) fmt::print("{}\n", rows.dump(1));
  return {};
}

}  // namespace sluice::apps
