#include "tests/model/draft_passes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/model/draft_folder.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

// Steps of a prompt, then of a token and two drafts; behind each a pass over its rows and one that
// goes on from that. Ids are fixed, so that all models see the same. Where every second pass may be
// for keys alone, its logits are left out.
class Passes {
 public:
  Passes(Model& model, EverySecond every_second, DraftBatch::Purpose its_purpose)
      : model_(model),
        sequence_(model, 0, 64),
        every_second_(every_second),
        its_purpose_(its_purpose) {}

  std::vector<std::vector<float>> run() {
    bool is_second = false;
    for (const int32_t rows : {20, 1, 3, 3, 1, 2}) {
      is_second = !is_second && every_second_ == EverySecond::kIsForKeys;
      step(rows);
      pass(rows, is_second ? its_purpose_ : DraftBatch::Purpose::kGuess);
      if (is_second)
        logits_.pop_back();
      else
        go_on();
    }
    return std::move(logits_);
  }

 private:
  static int32_t id_at(int32_t position) { return (position * 7 + 3) % 60; }
  float* room() { return logits_.emplace_back(static_cast<size_t>(model_.spec().vocab)).data(); }

  // The logits of all rows of few, else of the last.
  void step(int32_t rows) {
    first_ = sequence_.position();
    std::vector<int32_t> ids, logit_rows;
    for (int32_t i = 0; i < rows; ++i) ids.push_back(id_at(first_ + i));
    for (int32_t i = rows > 3 ? rows - 1 : 0; i < rows; ++i) logit_rows.push_back(i);
    const SequenceSpan spans[] = {sequence_.span(0, rows)};
    auto& logits =
        logits_.emplace_back(logit_rows.size() * static_cast<size_t>(model_.spec().vocab));
    model_.forward({.token_ids = ids,
                    .sequences = spans,
                    .logit_rows = logit_rows,
                    .hidden = KeepHidden::kYes},
                   logits.data());
  }

  void pass(int32_t rows, DraftBatch::Purpose purpose) {
    std::vector<int32_t> next_ids, hidden_rows(static_cast<size_t>(rows));
    for (int32_t i = 0; i < rows; ++i) next_ids.push_back(id_at(first_ + i + 1));
    std::iota(hidden_rows.begin(), hidden_rows.end(), 0);
    const SequenceSpan spans[] = {sequence_.span(0, rows)};
    float* const logits = room();
    model_.draft(
        {.next_ids = next_ids, .sequences = spans, .hidden_rows = hidden_rows, .purpose = purpose},
        purpose == DraftBatch::Purpose::kGuess ? logits : nullptr);
    sequence_.advance(rows);
  }

  void go_on() {
    const int32_t next_ids[] = {id_at(sequence_.position() + 1)}, hidden_rows[] = {0};
    const SequenceSpan spans[] = {sequence_.span(0, 1)};
    model_.draft({.next_ids = next_ids,
                  .sequences = spans,
                  .hidden = DraftBatch::Hidden::kOfDraft,
                  .hidden_rows = hidden_rows},
                 room());
  }

  Model& model_;
  SingleSequence sequence_;
  const EverySecond every_second_;
  const DraftBatch::Purpose its_purpose_;
  int32_t first_ = 0;
  std::vector<std::vector<float>> logits_;
};

std::vector<std::vector<float>> passes_of(const DraftCase& test, DraftBatch::Purpose its_purpose,
                                          const LoadOptions& options) {
  const DraftFolder folder(test.folder);
  const Loaded loaded = load_model(folder.path(), options, 64);
  if (loaded.model == nullptr) return {};
  return Passes(*loaded.model, test.every_second, its_purpose).run();
}

}  // namespace

double worst_draft_error(const DraftCase& test) {
  using Purpose = DraftBatch::Purpose;
  const auto expected = passes_of(test, Purpose::kGuess,
                                  {.threads = 2,
                                   .step_tokens_max = 32,
                                   .arithmetic = Arithmetic::kExact,
                                   .drafts = DraftLayers::kLoad});
  const auto found = passes_of(test, Purpose::kKeys,
                               {.threads = 2,
                                .step_tokens_max = 32,
                                .arithmetic = test.device ? Arithmetic::kFast : Arithmetic::kExact,
                                .drafts = DraftLayers::kLoad,
                                .device = test.device,
                                .other_cards = test.other_cards,
                                .placement = Placement::parse(test.place).value()});
  if (expected.empty() || found.size() != expected.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto [low, high] = std::minmax_element(expected[i].begin(), expected[i].end());
    double squares = 0;
    for (size_t j = 0; j < expected[i].size(); ++j) {
      const auto error = static_cast<double>((found[i][j] - expected[i][j]) / (*high - *low));
      squares += error * error;
    }
    const double error = std::sqrt(squares / static_cast<double>(expected[i].size()));
    if (!std::isfinite(error)) return INFINITY;
    worst = std::max(worst, error);
  }
  return worst;
}

}  // namespace sluice::model::testing
