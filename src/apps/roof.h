// This machine's measured limits, kept in the user's cache folder.
#pragma once

#include "core/thread_pool.h"
#include "kernels/probe.h"

namespace sluice::apps {

enum class RoofSource { kCache, kMeasure };

// Of the pool's threads. kCache measures only where this processor with this many threads was not
// measured before; a cache that cannot be read or written is no error.
kernels::Roof machine_roof(core::ThreadPool& pool, RoofSource source);

}  // namespace sluice::apps
