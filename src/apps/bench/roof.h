// This machine's measured limits, kept in the user's cache folder.
#pragma once

#include <optional>
#include <string_view>

#include "core/thread_pool.h"
#include "kernels/probe.h"
#include "model/model.h"

namespace sluice::apps {

enum class RoofSource { kCache, kMeasure };

// What was measured before with the units of this kernel table; none where nothing was.
std::optional<kernels::Roof> known_roof(int threads, std::string_view table);

// Of the pool's threads and a kernel table. kCache measures only where this processor with this
// many threads was not measured before; a cache that cannot be read or written is no error.
kernels::Roof machine_roof(core::ThreadPool& pool, std::string_view table, RoofSource source);

// What can be reached here: by the processor, and by the model's device where it has one.
struct Roofs {
  kernels::Roof host;
  kernels::Roof device;  // wide products of quantised weights run in bf16 there
  double link_gb_s = 0;  // pinned memory to the device
};
// Whether decode steps have the processor read weights.
bool reads_host_memory(const model::Model& model);

// Of what the model's steps use: a device, which is always measured anew, the processor, or both.
Roofs measure_roofs(model::Model& model, RoofSource source);

// The limit of the model's products, 10^12 operations per second: the int8 units' for quantised
// weights, those of bf16 for floats.
double roof_tera_ops(const kernels::Roof& roof, const model::Model& model);

}  // namespace sluice::apps
