// Bytes that a model needs, known from its checkpoint and options before anything is allocated.
#pragma once

#include <cstdint>

namespace sluice::model {

struct MemoryPlan {
  int64_t file_weight_bytes = 0;    // the checkpoint's tensors
  int64_t packed_weight_bytes = 0;  // the same as the kernels want them
  int64_t activation_bytes = 0;     // of a step of step_tokens_max tokens
  int64_t kv_page_bytes = 0;        // one page in all layers
  int64_t kv_token_bytes = 0;       // one token in all layers
};

}  // namespace sluice::model
