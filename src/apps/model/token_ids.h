// Token ids from a file, for the verbs that inspect a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace sluice::apps {

// A JSON array of ids, or an object with one under "ids" (what `generate -o json` prints); "-" is
// standard input. At least one id.
core::Result<std::vector<int32_t>> read_token_ids(const std::string& path);

// Checks the ids against the model they are meant for.
core::Result<void> check_token_ids(const std::vector<int32_t>& ids, int32_t vocab);

}  // namespace sluice::apps
