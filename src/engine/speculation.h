// Drafts: how likely their tokens are accepted, what a wider step costs, and how many to verify.
//
// A draft is a guess of the tokens behind a sequence's last one. One step computes them as further
// rows and samples every row as it would be sampled on its own: the random number is a function of
// (seed, position), and a row's logits are the same bits whatever else is in the step. The tokens
// up to the first that differs from the draft, and this one, are what steps of one token would have
// brought, so the output is the same with and without drafts. As the draft is a point mass this is
// also rejection sampling (Leviathan 2023): a token d is accepted with probability p(d), and what
// replaces it has the distribution p without d. docs/speculation.md has the arithmetic.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/step.h"

namespace sluice::engine {

// What drafts may come from.
enum class Speculation : uint8_t {
  kAuto,  // kMtp where the model has draft layers, and kNgram
  kOff,
  kNgram,  // the sequence's own tokens
  kMtp,    // the model's draft layers
};

enum class DraftKind : uint8_t { kNgram, kMtp };
inline constexpr int kDraftKinds = 2;
struct DraftCounts {
  int64_t drafted = 0;  // tokens that a step verified
  int64_t accepted = 0;
};

// Drafts of one source are about equally good: of the text's own, those behind suffixes of about
// the same length.
enum class DraftSource : uint8_t { kShortMatch, kMediumMatch, kLongMatch, kMtp };
inline constexpr int kDraftSources = 4;
DraftSource source_of_match(int32_t matched_tokens);
DraftKind kind_of(DraftSource source);

inline constexpr int32_t kDraftTokensMax = 15;  // of one sequence in one step
inline constexpr int32_t kDraftRowsMax = 64;    // of all

struct Draft {
  std::array<int32_t, kDraftTokensMax> ids{};
  int32_t tokens = 0;  // made; the draft layer makes them once the step is planned
  int32_t wanted = 0;  // to be verified in the step
  DraftSource source = DraftSource::kShortMatch;
  // Where the draft layer's tokens are only known to who runs it: by token, its sequence of the
  // pass.
  bool is_known = true;
  std::array<int32_t, model::kDraftPassesMax> places{};

  std::span<const int32_t> all() const { return std::span(ids).first(static_cast<size_t>(tokens)); }
};

// Probability that a draft's token is right where those before it were, by source; late
// observations count most.
class Acceptance {
 public:
  // Each observation moves the estimate by `weight`.
  explicit Acceptance(float weight) : weight_(weight) {}
  Acceptance(float weight, const Acceptance& start) : rates_(start.rates_), weight_(weight) {}

  // The sequence went on with `tokens`. Returns how many of them the draft had right, to the first
  // wrong one. What a step did not verify is observed as well.
  int32_t observe(const Draft& draft, std::span<const int32_t> tokens);
  double rate(DraftSource source) const {
    return static_cast<double>(rates_[static_cast<size_t>(source)]);
  }

 private:
  // Little is asked of a source until it is known.
  std::array<float, kDraftSources> rates_ = {0.3f, 0.5f, 0.7f, 0.7f};
  float weight_;
};

// Time of a step by its rows, as late steps took it. Estimates between and beyond measured widths.
class StepTimes {
 public:
  // Whether the first step of a width says what others of it take: not where it is recorded first.
  enum class First : uint8_t { kCounts, kIsLonger };
  explicit StepTimes(int64_t rows_max, First first = First::kCounts)
      : entries_(static_cast<size_t>(rows_max) + 1), first_(first) {}

  void add(int64_t rows, int64_t step_ns);
  // 0: no width was measured.
  double of(int64_t rows) const;
  int64_t rows_max() const { return static_cast<int64_t>(entries_.size()) - 1; }
  // Whether the time of so many rows has not been measured lately.
  bool is_old(int64_t rows) const;

 private:
  struct Entry {
    double ns = 0;
    int64_t measured_at = -1;  // of steps_; −1: never
    bool was_seen = false;
  };
  bool is_known(int64_t rows) const;

  std::vector<Entry> entries_;  // by rows
  First first_;
  int64_t steps_ = 0;
};

// A sequence's draft, as far as the choice depends on it.
struct DraftOffer {
  double rate = 0;  // of its next tokens
  DraftKind kind = DraftKind::kNgram;
  int32_t tokens = 0;  // at most
  int32_t wanted = 0;  // chosen
  double reach = 1;    // probability that the tokens chosen so far are all accepted
};

// A step of `sequences` that all get one token anyway.
struct DraftStep {
  int64_t sequences = 0;
  const StepTimes& times;
  double keys_ns = 0;  // of the draft layer's pass over the last step's rows for their keys alone
  double pass_ns = 0;  // of a pass that guesses: instead, and for each further token
};

// Chooses DraftOffer::wanted: the rows that most raise tokens per time, none where that is less
// than 2 %. Rows go where they are likeliest to be accepted.
void choose_drafts(const DraftStep& step, std::span<DraftOffer> offers);

// Whether the draft layer is worth its time. It is watched for a number of steps at a time; where
// it has cost more than it saved, it rests for many more.
class DraftLayerUse {
 public:
  bool is_on() const { return rest_steps_ == 0; }
  // A step that only decoded. `saved_ns`: what its accepted tokens would have taken without drafts;
  // `spent_ns`: passes of the draft layer and the time of further rows.
  void add_step(double saved_ns, double spent_ns);

 private:
  double saved_ns_ = 0;
  double spent_ns_ = 0;
  int64_t steps_ = 0;
  int64_t rest_steps_ = 0;
};

}  // namespace sluice::engine
