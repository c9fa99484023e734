// What an engine did between two looks at its counters, as a line for the log.
#pragma once

#include <cstdint>
#include <string>

#include "engine/stats.h"

namespace sluice::server {

// Empty where no step ran. The share of the machine's limit is said where that is known.
std::string activity_line(const engine::EngineStats& before, const engine::EngineStats& now,
                          int64_t interval_ns);

}  // namespace sluice::server
