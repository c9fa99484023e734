// One sequence on its own: tools and tests that need no engine run a model through this.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace sluice::model {

class SingleSequence {
 public:
  // Uses pages [first_page, first_page + pages for tokens_max) of the model's arena.
  SingleSequence(Model& model, int32_t first_page, int64_t tokens_max);

  // The next `rows` tokens of the sequence, as rows of a step that the caller puts together.
  SequenceSpan span(int32_t first_row, int32_t rows) const;
  void advance(int32_t rows) { position_ += rows; }
  int32_t position() const { return position_; }
  // Forgets the tokens from `position` on.
  void rewind(int32_t position) { position_ = position; }

  // Runs `ids` in steps of at most `chunk` tokens. Writes the logits of the last `logit_count`
  // ids, (logit_count, vocab).
  struct Append {
    std::span<const int32_t> ids;
    int32_t chunk = 0;
    int32_t logit_count = 0;
    const HiddenObserver* observer = nullptr;
    const RoutingObserver* routing_observer = nullptr;
  };
  void append(const Append& args, float* logits);

 private:
  Model& model_;
  int32_t position_ = 0;
  std::vector<int32_t> pages_;
};

}  // namespace sluice::model
