// Bytes that a loaded model takes; bytes and operations of a step.
#pragma once

#include <cstdint>

namespace sluice::model {

struct MemoryPlan {
  int64_t weight_bytes = 0;      // packed matrices and float vectors, resident
  int64_t activation_bytes = 0;  // of a step of step_tokens_max tokens
  int64_t kv_page_bytes = 0;     // one page in all layers
  int64_t kv_token_bytes = 0;    // one token in all layers
  // Of the file's tensors that one step must read: all but the embedding, of which it reads a row
  // (a tied embedding is read as the output matrix); of experts as many as one token uses.
  int64_t step_file_bytes = 0;
  int64_t expert_file_bytes = 0;  // the experts' share of it; tokens that choose others add as much
  // Of those what the processor reads, where a device has the other weights.
  int64_t host_expert_file_bytes = 0;
  // Of the products with weights, a multiplication and an addition being two: of a token through
  // all layers, and of a row of logits.
  double token_operations = 0;
  double logit_row_operations = 0;
};

}  // namespace sluice::model
