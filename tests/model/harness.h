// Runs a model over token ids the way an engine would: pages, chunks, batches.
#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/math.h"
#include "formats/checkpoint.h"
#include "model/model.h"

namespace sluice::model::testing {

struct Loaded {
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<Model> model;
};

inline Loaded load_model(const std::string& path, const LoadOptions& options) {
  Loaded loaded;
  auto checkpoint = formats::Checkpoint::open(path);
  if (!checkpoint.ok()) {
    ADD_FAILURE() << checkpoint.error().message;
    return loaded;
  }
  loaded.checkpoint = std::move(*checkpoint);
  auto model = Model::load(*loaded.checkpoint, options);
  if (!model.ok()) {
    ADD_FAILURE() << model.error().message;
    return loaded;
  }
  loaded.model = std::move(*model);
  return loaded;
}

// One sequence with pages of its own, from `first_page` on.
class Stream {
 public:
  Stream(Model& model, int32_t first_page, int64_t tokens_max)
      : model_(model),
        pages_(static_cast<size_t>(core::div_ceil(tokens_max, kernels::kPageTokens))) {
    std::iota(pages_.begin(), pages_.end(), first_page);
  }

  SequenceSpan span(int32_t first_row, int32_t rows) const {
    return {first_row, rows, position_, pages_.data()};
  }
  void advance(int32_t rows) { position_ += rows; }

  // Runs `ids` in chunks; logits of the last `logit_count` ids, (logit_count, vocab).
  std::vector<float> run(std::span<const int32_t> ids, int32_t chunk, int32_t logit_count,
                         const HiddenObserver* observer = nullptr) {
    const auto vocab = static_cast<size_t>(model_.spec().vocab);
    std::vector<float> logits(static_cast<size_t>(logit_count) * vocab);
    const auto first_logit = static_cast<int32_t>(ids.size()) - logit_count;
    float* out = logits.data();
    for (int32_t begin = 0; begin < static_cast<int32_t>(ids.size()); begin += chunk) {
      const int32_t rows = std::min(chunk, static_cast<int32_t>(ids.size()) - begin);
      std::vector<int32_t> logit_rows;
      for (int32_t r = std::max(0, first_logit - begin); r < rows; ++r) logit_rows.push_back(r);
      const SequenceSpan spans[] = {span(0, rows)};
      model_.forward(
          {.token_ids = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(rows)),
           .sequences = spans,
           .logit_rows = logit_rows,
           .observer = observer},
          out);
      out += logit_rows.size() * vocab;
      advance(rows);
    }
    return logits;
  }

 private:
  Model& model_;
  int32_t position_ = 0;
  std::vector<int32_t> pages_;
};

}  // namespace sluice::model::testing
