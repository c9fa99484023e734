// Speed of decoding with drafts and without, at one stream or several, pair by pair.
//
//     sluice tokenize MODEL -o json < bench/prompts/quote_and_edit.txt > ids.json
//     speculation_bench MODEL ids.json [tokens 128] [streams 1] [pairs 5] [threads]
//
// What it should say stands in docs/speculation.md. The outputs are compared as well. With one
// thread time is the processor's, so that other work beside counts for little.
#include <algorithm>
#include <cstdlib>
#include <map>

#include <fmt/core.h>

#include "bench/decode_timing.h"
#include "core/cpu.h"
#include "core/math.h"
#include "engine/loop.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace sluice {
namespace {

using engine::Speculation;

struct Options {
  std::vector<int32_t> ids;
  int64_t tokens = 128;
  int64_t streams = 1;
  int pairs = 5;
};

// One engine without its thread; what it has learned of the machine stays from run to run.
class Bench {
 public:
  Bench(model::Model& model, const Options& options, Speculation speculation)
      : options_(options),
        clock_(model.pool().threads() == 1 ? static_cast<const core::Clock&>(processor_clock_)
                                           : system_clock_),
        runner_(model),
        config_(make_config(model, options, speculation)),
        parts_{.runner = &runner_,
               .pool = &model.pool(),
               .ops = &model.ops(),
               .clock = &clock_,
               .sink = [this](const engine::StepEvents& e) { take(e); },
               .observer = {}},
        loop_(config_, parts_) {}

  // Tokens per second of all streams together, from the first token to the last.
  double run() {
    output_.clear();
    engine::Messages messages;
    for (int64_t i = 0; i < options_.streams; ++i) {
      engine::Request r{.id = {static_cast<uint64_t>(i)}, .prompt_ids = options_.ids};
      // Streams with different beginnings of the answer.
      r.prompt_ids.resize(r.prompt_ids.size() - static_cast<size_t>(i % 8));
      r.sampling = {.temperature = 0, .max_tokens = options_.tokens};
      messages.arrivals.push_back(engine::make_sequence(r, config_, kernels::kPageTokens));
      messages.arrivals.back()->arrival = ++arrivals_;
    }
    messages.flush = engine::FlushCache::kYes;
    int64_t begin_ns = 0;
    do {
      loop_.step(&messages);
      messages = {};
      if (begin_ns == 0 && std::ssize(output_) == options_.streams) begin_ns = clock_.now_ns();
    } while (loop_.has_work());
    const int64_t decoded = options_.streams * (options_.tokens - 1);
    return static_cast<double>(decoded) * 1e9 / static_cast<double>(clock_.now_ns() - begin_ns);
  }

  const std::map<uint64_t, std::vector<int32_t>>& output() const { return output_; }
  const engine::EngineStats& stats() const { return loop_.stats(); }

 private:
  static engine::EngineConfig make_config(const model::Model& model, const Options& options,
                                          Speculation speculation) {
    engine::EngineConfig c;
    c.limits.sequences_max = options.streams;
    c.limits.context_tokens_max = std::ssize(options.ids) + options.tokens;
    c.limits.kv_pages = model.kv_pages();
    c.limits.logit_rows_max = options.streams + engine::kDraftRowsMax;
    c.vocab_tokens = model.spec().vocab;
    c.speculation = speculation;
    return c;
  }
  void take(const engine::StepEvents& events) {
    for (const engine::TokenEvent& e : events.tokens) output_[e.id.value].push_back(e.token_id);
  }

  const Options& options_;
  const core::SystemClock system_clock_;
  const ProcessorClock processor_clock_;
  const core::Clock& clock_;
  engine::ModelRunner runner_;
  const engine::EngineConfig config_;
  const engine::EngineParts parts_;
  engine::Loop loop_;
  int64_t arrivals_ = 0;
  std::map<uint64_t, std::vector<int32_t>> output_;
};

core::Result<int> compare(const std::string& path, const Options& options, int threads) {
  const auto checkpoint = TRY(formats::Checkpoint::open(path));
  const auto model = TRY(
      model::Model::load(*checkpoint, {.threads = threads, .drafts = model::DraftLayers::kLoad}));
  const int64_t tokens = std::ssize(options.ids) + options.tokens;
  TRY(model->allocate_kv(2 * options.streams * core::div_ceil(tokens, kernels::kPageTokens)));
  struct Mode {
    const char* name;
    Speculation speculation;
  };
  std::vector<Mode> modes = {{"ngram", Speculation::kNgram}};
  if (model->has_drafts())
    modes.insert(modes.end(), {{"mtp", Speculation::kMtp}, {"auto", Speculation::kAuto}});
  for (const Mode& mode : modes) {
    Bench plain(*model, options, Speculation::kOff);
    Bench with(*model, options, mode.speculation);
    plain.run();
    with.run();
    std::vector<double> off, on, ratio;
    for (int pair = 0; pair < options.pairs; ++pair) {
      off.push_back(plain.run());
      on.push_back(with.run());
      ratio.push_back(on.back() / off.back());
    }
    if (plain.output() != with.output()) return core::invalid("{}: another output", mode.name);
    fmt::print("{:<6} {:8.1f} tok/s, off {:8.1f}, ratio {:.3f} ({:.3f}-{:.3f})", mode.name,
               median(on), median(off), median(ratio),
               *std::min_element(ratio.begin(), ratio.end()),
               *std::max_element(ratio.begin(), ratio.end()));
    for (const engine::DraftCounts& c : with.stats().drafts)
      if (c.drafted > 0) fmt::print(", accepted {} of {}", c.accepted, c.drafted);
    fmt::print(", {} steps for {} tokens\n", with.stats().steps, with.stats().generation_tokens);
  }
  return 0;
}

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "speculation_bench MODEL IDS.json [tokens] [streams] [pairs] [threads]\n");
    return 2;
  }
  Options options{.ids = read_ids(argv[2])};
  if (argc > 3) options.tokens = std::atoi(argv[3]);
  if (argc > 4) options.streams = std::atoi(argv[4]);
  if (argc > 5) options.pairs = std::atoi(argv[5]);
  const int threads = argc > 6 ? std::atoi(argv[6]) : core::detect_cpu().cores;
  const auto done = compare(argv[1], options, threads);
  if (!done.ok()) fmt::print(stderr, "speculation_bench: {}\n", done.error().message);
  return done.ok() ? 0 : 1;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::run(argc, argv);
}
