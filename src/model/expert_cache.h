// Which of a layer's experts lie on a device although the layer's home is the host: those that
// tokens went to most often and last. Pure: a state that sees choices and says what to exchange.
//
// An expert's score is how often it was chosen, halved every kHalfLifeSteps steps: what was used
// last counts most, what is used always stays. Of 256 experts chosen by Zipf's law 64 slots so have
// 73 % of the choices, what the 64 most popular would have, with an exchange every 50 steps.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace sluice::model {

struct ResidentCounts {
  int64_t choices = 0;
  int64_t hits = 0;       // of experts that the device had
  int64_t exchanges = 0;  // of an expert there for another
  // Experts that no device had, each once a layer of a step.
  int64_t read = 0;    // by the processor
  int64_t pulled = 0;  // by a device, over the link
  // Matrices that the processor had in its caches before they were chosen, or were not.
  int64_t fetched = 0;
  int64_t fetched_used = 0;

  ResidentCounts since(const ResidentCounts& before) const {
    return {choices - before.choices,
            hits - before.hits,
            exchanges - before.exchanges,
            read - before.read,
            pulled - before.pulled,
            fetched - before.fetched,
            fetched_used - before.fetched_used};
  }
  static double share(int64_t of, int64_t all) {
    return all > 0 ? static_cast<double>(of) / static_cast<double>(all) : 0;
  }
  double hit_share() const { return share(hits, choices); }
  double fetched_share() const { return share(fetched_used, fetched); }
  double pulled_share() const { return share(pulled, pulled + read); }
};

class ExpertCache {
 public:
  static constexpr double kHalfLifeSteps = 256;
  // An expert that comes must have this many times the score of the one that goes, and a choice
  // more: otherwise equals would take turns.
  static constexpr double kGainMin = 1.25;
  // The busiest card has this much more to do than another before an expert moves between them.
  static constexpr double kGapMin = 0.1;

  // `named` have the first slots for good; at first the least of the others have the rest. Each of
  // `cards` has a run of the slots.
  ExpertCache(int32_t experts, int32_t slots, std::span<const int32_t> named, int32_t cards = 1);

  int32_t slots() const { return static_cast<int32_t>(expert_in_.size()); }
  // Of every expert its slot, or -1.
  std::span<const int32_t> slots_of() const { return slot_of_; }

  // What a step's rows chose.
  void see(std::span<const int32_t> ids);
  // Counts them as ones that could have been hits.
  void count(std::span<const int32_t> ids);

  struct Exchange {
    int32_t leaves = 0;  // -1: the slot is free
    int32_t comes = 0;
    int32_t slot = 0;
  };
  // The best of those that are not there for the worst of a card's; of several cards whose worst it
  // gains enough by, the one whose experts are used least gets it. Where nothing gains, an expert
  // that moves to a card with less to do; or none. The one that leaves is gone when this returns;
  // the other is there after arrive(), and until then where it was. One is under way at a time.
  std::optional<Exchange> next_exchange();
  void arrive(const Exchange& exchange);

  const ResidentCounts& counts() const { return counts_; }

 private:
  struct CardLoad {
    double score = 0;    // of all its experts
    int32_t worst = -1;  // that may leave
    int32_t free_slot = -1;
  };
  double score_of(int32_t expert) const { return scores_[static_cast<size_t>(expert)]; }
  CardLoad load_of(int32_t card) const;
  Exchange begin(int32_t leaves, int32_t comes);
  std::optional<Exchange> next_move(std::span<const CardLoad> loads);

  std::vector<double> scores_;
  std::vector<uint8_t> stays_;      // by expert: named
  std::vector<int32_t> slot_of_;    // by expert
  std::vector<int32_t> expert_in_;  // by slot; -1: one that comes
  double weight_ = 1;               // of a choice of this step: grows instead of scores that shrink
  int32_t cards_ = 1;
  int32_t slots_of_card_ = 0;
  ResidentCounts counts_;
};

}  // namespace sluice::model
