// What the tests of this folder share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/math.h"
#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/single_sequence.h"

namespace sluice::model::testing {

// With a sanitizer the default model takes many minutes; what it shows there, tiny models show too.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

using Devices = std::vector<std::shared_ptr<kernels::Device>>;

struct Loaded {
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<Model> model;
};

// A failure of the running test where it cannot be loaded; then `model` is null.
inline Loaded load_model(const std::string& path, const LoadOptions& options, int64_t kv_tokens) {
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
  loaded.model->allocate_kv(core::div_ceil(kv_tokens, kernels::kPageTokens)).value();
  return loaded;
}

}  // namespace sluice::model::testing
