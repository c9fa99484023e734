#include "model/single_sequence.h"

#include <algorithm>
#include <numeric>

#include "core/math.h"

namespace sluice::model {

SingleSequence::SingleSequence(Model& model, int32_t first_page, int64_t tokens_max)
    : model_(model), pages_(static_cast<size_t>(core::div_ceil(tokens_max, kernels::kPageTokens))) {
  std::iota(pages_.begin(), pages_.end(), first_page);
}

SequenceSpan SingleSequence::span(int32_t first_row, int32_t rows) const {
  ASSERT(position_ + rows <= static_cast<int32_t>(pages_.size()) * kernels::kPageTokens,
         "token {} of {} pages", position_ + rows, pages_.size());
  return {first_row, rows, position_, pages_.data()};
}

void SingleSequence::append(const Append& args, float* logits) {
  const auto count = static_cast<int32_t>(args.ids.size());
  const int32_t first_logit = count - args.logit_count;
  std::vector<int32_t> logit_rows;
  for (int32_t begin = 0; begin < count; begin += args.chunk) {
    const int32_t rows = std::min(args.chunk, count - begin);
    logit_rows.clear();
    for (int32_t row = std::max(0, first_logit - begin); row < rows; ++row)
      logit_rows.push_back(row);
    const SequenceSpan spans[] = {span(0, rows)};
    model_.forward(
        {.token_ids = args.ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(rows)),
         .sequences = spans,
         .logit_rows = logit_rows,
         .observer = args.observer,
         .routing_observer = args.routing_observer},
        logits);
    logits += static_cast<int64_t>(logit_rows.size()) * model_.spec().vocab;
    advance(rows);
  }
}

}  // namespace sluice::model
