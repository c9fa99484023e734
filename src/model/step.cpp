#include "model/step.h"

#include "core/assert.h"

namespace sluice::model {

void check_batch(const StepBatch& batch, const BatchLimits& limits) {
  const auto rows = static_cast<int64_t>(batch.token_ids.size());
  ASSERT(rows >= 1 && rows <= limits.rows_max, "{} rows, at most {}", rows, limits.rows_max);
  int32_t covered = 0;
  for (const SequenceSpan& span : batch.sequences) {
    ASSERT(span.first_row == covered && span.rows >= 1 && span.rows <= rows - covered,
           "a span of {} rows at row {}, {} of {} covered", span.rows, span.first_row, covered,
           rows);
    covered += span.rows;
  }
  ASSERT(covered == rows, "spans cover {} of {} rows", covered, rows);
  for (const int32_t id : batch.token_ids)
    ASSERT(id >= 0 && id < limits.vocab, "token id {} of {}", id, limits.vocab);
  ASSERT(batch.sampled_rows.empty() || std::ssize(batch.sampled_rows) == rows,
         "{} of {} rows with a sampled id", batch.sampled_rows.size(), rows);
  int32_t last = -1;
  for (const int32_t row : batch.logit_rows) {
    ASSERT(row > last && row < rows, "logit row {} after {} of {} rows", row, last, rows);
    last = row;
  }
}

}  // namespace sluice::model
