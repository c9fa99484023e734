// A model over several cards of one machine, as data: which dimensions are cut, and what of each
// tensor a card keeps.
//
// Attention's heads and the feed-forward part's columns are cut (Shoeybi et al. 2019, arXiv
// 1909.08053): a card computes its heads from whole rows of the hidden state and multiplies them by
// its columns of attention's output matrix; the sum over the cards is the whole product, and stands
// on every card before the feed-forward part, which goes the same way. Of a layer's experts each
// card has a run, or the host has all; norms, routers and what makes latent vectors are on all of
// them; the output matrix is on the first.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "model/placement.h"
#include "model/spec.h"

namespace sluice::model {

// Which of how many.
struct CardShare {
  int32_t card = 0;
  int32_t cards = 1;

  bool is_whole() const { return cards == 1; }
  bool is_first() const { return card == 0; }
  // Of `count` things, a multiple of `cards`.
  core::Range of(int64_t count) const { return {count / cards * card, count / cards * (card + 1)}; }
};

// The cards that a model lies on, the first one first: of "cpu" none, of "cuda" card 0, of
// "cuda:0,cuda:1" both. An Error says what was found and what is possible.
core::Result<std::vector<int32_t>> parse_cards(std::string_view devices);

// What a card keeps of a tensor: all of it, or its run of one dimension.
enum class Cut : uint8_t {
  kWhole,
  kRows,     // of a matrix: outputs
  kColumns,  // of a matrix: inputs, and results are summed over the cards; of a vector: values
  kMembers,  // of a list of matrices
  kFirst,    // all of it on the first card, nothing on the others
};

// `spec` as one card has it: with its heads and its columns, and all experts. An Error lists what
// cannot be split evenly.
core::Result<Spec> spec_of_card(const Spec& spec, int32_t cards);

// Where experts lie, on the cards or in the host's memory: as `wanted`, or without it as many on
// the cards as fit beside `kv_bytes` on each. An Error names the first card that has no room, and
// the placement that would fit; a card with no limit has room for everything.
core::Result<Placement> place_over_cards(std::span<const PlacementSizes> cards,
                                         const std::optional<Placement>& wanted, int64_t kv_bytes);

// Of what a token reads: the slowest card, then the processor.
TokenBytes token_bytes(const Placement& placement, std::span<const PlacementSizes> cards);

// "2 cards, each with 16 of 32 heads, 4 of 8 heads of keys and values, 7168 of 14336 columns of the
// feed-forward part: 8.21 + 7.16 GB of weights"; with experts on the host their placement, bytes
// and, by the speed of one card, what one stream reaches at most.
std::string describe_cards(const Spec& spec, std::span<const PlacementSizes> cards,
                           const Placement& placement, const MachineSpeeds& speeds);

}  // namespace sluice::model
