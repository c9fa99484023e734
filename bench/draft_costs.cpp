// What drafts of a draft layer cost and bring: the arithmetic of docs/speculation.md with measured
// times and the weights' bytes.
//
//     sluice tokenize MODEL -o json < PROMPT > ids.json
//     draft_costs MODEL ids.json [tokens 160] [rounds 9] [threads 1]
//
// The model goes on greedily behind the prompt. Along that text steps of 1 to 5 rows are timed, and
// behind each a pass of the draft layer over the same rows. With one thread time is the
// processor's, so that other work beside counts for little.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include <fmt/core.h>

#include "bench/decode_timing.h"
#include "core/math.h"
#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/single_sequence.h"

namespace sluice {
namespace {

constexpr int kRowsMax = 5;  // a token and four drafted ones
constexpr double kWanted = 1.2;

struct Options {
  std::vector<int32_t> ids;
  int32_t tokens = 160;
  int rounds = 9;
  int threads = 1;
};

// Weights that a step reads once, in bytes of the checkpoint.
struct WeightBytes {
  double always = 0;  // of layers, whatever the tokens
  double experts = 0;
  double output = 0;
  double draft_always = 0, draft_experts = 0;
};

WeightBytes weight_bytes(const model::Model& model) {
  WeightBytes bytes;
  for (const model::MatrixSource& m : model.weights().sources) {
    const auto of = static_cast<double>(m.file_bytes);
    const bool is_expert = m.tensor.find("_exps.") != std::string::npos;
    const int layer = m.tensor.starts_with("blk.") ? std::atoi(m.tensor.c_str() + 4) : -1;
    if (layer >= model.spec().layers)
      (is_expert ? bytes.draft_experts : bytes.draft_always) += of;
    else if (layer < 0)
      bytes.output += of;
    else
      (is_expert ? bytes.experts : bytes.always) += of;
  }
  return bytes;
}

// The share of a layer's experts that `rows` tokens choose, as if each chose at random.
double experts_share(const model::Spec& spec, double rows) {
  if (spec.experts.count == 0) return 0;
  return 1 - std::pow(1 - static_cast<double>(spec.experts.used) / spec.experts.count, rows);
}

struct Times {
  std::vector<double> step_us, pass_us;
  model::StepTimes parts{};  // of all steps
};

class Bench {
 public:
  Bench(model::Model& model, const Options& options)
      : model_(model),
        options_(options),
        clock_(options.threads == 1 ? static_cast<const core::Clock&>(processor_clock_)
                                    : system_clock_),
        sequence_(model, 0, std::ssize(options.ids) + options.tokens + 1),
        text_(options.ids),
        logits_(static_cast<size_t>(std::max<int64_t>(kRowsMax, std::ssize(options.ids)) *
                                    model.spec().vocab)) {}

  // Of the draft layer's first guesses, the share that was right.
  double decode() {
    const auto prompt = static_cast<int32_t>(options_.ids.size());
    step(0, prompt, model::KeepHidden::kYes, nullptr);
    int right = 0;
    int32_t guess = -1, at = 0, rows = prompt;
    for (int32_t token = 0; token < options_.tokens; ++token) {
      const int32_t next = best(logit_rows_.size() - 1);
      right += next == guess ? 1 : 0;
      text_.push_back(next);
      pass(at, rows);
      guess = best(0);
      at = static_cast<int32_t>(text_.size()) - 1;
      rows = 1;
      step(at, rows, model::KeepHidden::kYes, nullptr);
    }
    return static_cast<double>(right) / (options_.tokens - 1);
  }

  // Steps of `rows` rows along the text, each with a pass of the draft layer where it keeps states.
  void measure(int32_t rows, model::KeepHidden hidden, Times* times) {
    model::StepProfile profile{
        clock_, std::vector<model::StepTimes>(static_cast<size_t>(model_.pool().threads()))};
    const auto end = static_cast<int32_t>(text_.size()) - 1;
    for (auto at = static_cast<int32_t>(options_.ids.size()); at + rows <= end; at += rows) {
      int64_t begin_ns = clock_.now_ns();
      step(at, rows, hidden, &profile);
      times->step_us.push_back(static_cast<double>(clock_.now_ns() - begin_ns) / 1e3);
      if (hidden == model::KeepHidden::kNo) continue;
      begin_ns = clock_.now_ns();
      pass(at, rows);
      times->pass_us.push_back(static_cast<double>(clock_.now_ns() - begin_ns) / 1e3);
    }
    times->parts.linear_ns += profile.threads.front().linear_ns;
    times->parts.attention_ns += profile.threads.front().attention_ns;
    times->parts.rows_ns += profile.threads.front().rows_ns;
  }

 private:
  void step(int32_t at, int32_t rows, model::KeepHidden hidden, model::StepProfile* profile) {
    sequence_.rewind(at);
    const model::SequenceSpan span = sequence_.span(0, rows);
    logit_rows_.clear();
    // Of a prompt the last one's.
    for (int32_t row = rows > kRowsMax ? rows - 1 : 0; row < rows; ++row)
      logit_rows_.push_back(row);
    model_.forward(
        {.token_ids = std::span(text_).subspan(static_cast<size_t>(at), static_cast<size_t>(rows)),
         .sequences = {&span, 1},
         .logit_rows = logit_rows_,
         .profile = profile,
         .hidden = hidden},
        logits_.data());
  }

  void pass(int32_t at, int32_t rows) {
    sequence_.rewind(at);
    const model::SequenceSpan span = sequence_.span(0, rows);
    hidden_rows_.clear();
    for (int32_t row = 0; row < rows; ++row) hidden_rows_.push_back(row);
    model_.draft({.next_ids = std::span(text_).subspan(static_cast<size_t>(at) + 1,
                                                       static_cast<size_t>(rows)),
                  .sequences = {&span, 1},
                  .hidden_rows = hidden_rows_},
                 logits_.data());
  }

  int32_t best(size_t row) const {
    const int64_t vocab = model_.spec().vocab;
    return static_cast<int32_t>(
        model_.ops().argmax(logits_.data() + static_cast<int64_t>(row) * vocab, vocab));
  }

  model::Model& model_;
  const Options& options_;
  const core::SystemClock system_clock_;
  const ProcessorClock processor_clock_;
  const core::Clock& clock_;
  model::SingleSequence sequence_;
  std::vector<int32_t> text_, logit_rows_, hidden_rows_;
  std::vector<float> logits_;
};

void print_bytes(const model::Model& model) {
  const WeightBytes w = weight_bytes(model);
  constexpr double kMega = 1e-6;
  fmt::print(
      "weights, MB: layers {:.2f}, their experts {:.2f} in all, output matrix {:.2f}; draft "
      "layer {:.2f}, its experts {:.2f}\n",
      w.always * kMega, w.experts * kMega, w.output * kMega, w.draft_always * kMega,
      w.draft_experts * kMega);
  fmt::print("read by   rows   step   times the first   pass\n");
  const double first = w.always + w.output + w.experts * experts_share(model.spec(), 1);
  for (int rows = 1; rows <= kRowsMax; ++rows) {
    const double share = experts_share(model.spec(), rows);
    const double step = w.always + w.output + w.experts * share;
    const double pass = w.draft_always + w.output + w.draft_experts * share;
    fmt::print("{:14} {:6.2f} {:17.2f} {:6.2f}\n", rows, step * kMega, step / first, pass * kMega);
  }
}

// Between measured numbers of rows.
double at_rows(const std::array<double, kRowsMax + 1>& times, double rows) {
  const auto below = std::min(static_cast<int>(rows), kRowsMax - 1);
  const double part = rows - below;
  return times[static_cast<size_t>(below)] * (1 - part) +
         times[static_cast<size_t>(below) + 1] * part;
}

void print_gain(double plain_us, const std::array<double, kRowsMax + 1>& steps,
                const std::array<double, kRowsMax + 1>& passes, double right) {
  fmt::print(
      "acceptance of first drafts a = {:.3f}\n"
      "drafts   tokens E   step T(1+k) us   passes D us   together / T(1)   for {:.1f} x at "
      "most   speed-up\n",
      right, kWanted);
  for (int k = 1; k < kRowsMax; ++k) {
    double tokens = 0;
    for (int i = 0; i <= k; ++i) tokens += std::pow(right, i);
    // Over the rows that became text, then one row for each further draft.
    const double drafting = at_rows(passes, tokens) + (k - 1) * passes[1];
    const double all = steps[static_cast<size_t>(k) + 1] + drafting;
    fmt::print("{:6} {:10.2f} {:16.1f} {:13.1f} {:17.2f} {:18.2f} {:10.2f}\n", k, tokens,
               steps[static_cast<size_t>(k) + 1], drafting, all / plain_us, tokens / kWanted,
               tokens * plain_us / all);
  }
}

core::Result<int> measure(const std::string& path, const Options& options) {
  const auto checkpoint = TRY(formats::Checkpoint::open(path));
  const auto model = TRY(model::Model::load(
      *checkpoint, {.threads = options.threads, .drafts = model::DraftLayers::kLoad}));
  if (!model->has_drafts()) return core::invalid("'{}' has no draft layer", path);
  if (options.ids.empty() || std::ssize(options.ids) > model->step_tokens_max())
    return core::invalid("a prompt of {} tokens, expected 1 to {}", options.ids.size(),
                         model->step_tokens_max());
  const int64_t tokens = std::ssize(options.ids) + options.tokens + 1;
  TRY(model->allocate_kv(core::div_ceil(tokens, kernels::kPageTokens)));
  Bench bench(*model, options);
  const double right = bench.decode();
  Times plain;
  std::array<Times, kRowsMax + 1> wide{};
  for (int round = 0; round < options.rounds; ++round) {
    bench.measure(1, model::KeepHidden::kNo, &plain);
    for (int rows = 1; rows <= kRowsMax; ++rows)
      bench.measure(rows, model::KeepHidden::kYes, &wide[static_cast<size_t>(rows)]);
  }
  print_bytes(*model);
  const double plain_us = median(plain.step_us);
  std::array<double, kRowsMax + 1> steps{}, passes{};
  fmt::print(
      "{} thread(s), medians   rows   step us   times the first   linear, attention, rows "
      "us   pass us\n",
      options.threads);
  const auto print_row = [&](const std::string& rows, const Times& t) {
    const auto per_step = [&](int64_t ns) {
      return static_cast<double>(ns) / 1e3 / static_cast<double>(t.step_us.size());
    };
    fmt::print("{:>28} {:9.1f} {:17.2f} {:10.1f} {:8.1f} {:8.1f} {:11.1f}\n", rows,
               median(t.step_us), median(t.step_us) / plain_us, per_step(t.parts.linear_ns),
               per_step(t.parts.attention_ns), per_step(t.parts.rows_ns), median(t.pass_us));
  };
  print_row("1, no drafts", plain);
  for (size_t rows = 1; rows <= kRowsMax; ++rows) {
    steps[rows] = median(wide[rows].step_us);
    passes[rows] = median(wide[rows].pass_us);
    print_row(fmt::format("{}", rows), wide[rows]);
  }
  print_gain(plain_us, steps, passes, right);
  return 0;
}

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "draft_costs MODEL IDS.json [tokens] [rounds] [threads]\n");
    return 2;
  }
  Options options{.ids = read_ids(argv[2])};
  if (argc > 3) options.tokens = std::max(std::atoi(argv[3]), 2 * kRowsMax);
  if (argc > 4) options.rounds = std::max(std::atoi(argv[4]), 1);
  if (argc > 5) options.threads = std::max(std::atoi(argv[5]), 1);
  const auto done = measure(argv[1], options);
  if (!done.ok()) fmt::print(stderr, "draft_costs: {}\n", done.error().message);
  return done.ok() ? 0 : 1;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  return sluice::run(argc, argv);
}
