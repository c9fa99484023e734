// Which implementation of the ops runs: an ordered list, the first whose needs the machine meets.
#pragma once

#include <span>
#include <string_view>

#include "core/cpu.h"
#include "core/result.h"
#include "kernels/ops.h"

namespace sluice::kernels {

// All tables of this build, the fastest first, "ref" last. They live as long as the process.
std::span<const Ops* const> all_ops();

// The first table that `cpu` can run, or the one called `forced_name` where that is not empty. An
// unknown name, or one whose needs the machine does not meet, is an error that lists the choices.
core::Result<const Ops*> select_ops(const core::CpuInfo& cpu, std::string_view forced_name);

// The first table that this processor can run.
const Ops& best_ops();

// The plain loops that define each op (what `--exact` runs).
const Ops& reference_ops();

}  // namespace sluice::kernels
