// Sizes as people write them: 1048576, 512MiB, 2GiB, 1.5G.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice::apps {

// Units B, KiB, MiB, GiB, TiB, or their first letter, in any case; none means bytes. Rounded down.
core::Result<int64_t> parse_byte_size(std::string_view text);

// "2.0 GiB", "97.2 MiB", "512 B"
std::string byte_size_text(int64_t bytes);

}  // namespace sluice::apps
