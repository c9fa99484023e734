// Which variable does a name mean? Jinja decides this from the source alone; so do we, once, and
// rendering finds each variable in a numbered slot.
#pragma once

#include "core/result.h"
#include "jinja/ast.h"

namespace sluice::jinja {

// Gives every name its slot and every scope the loads that fill its slots on entry. Also reports
// filters and tests that do not exist, except in branches that may never run.
// Source of the rules: jinja2's idtracking. A block's names are looked at before the blocks inside
// it: a name that is assigned anywhere in the block is the block's own from its beginning.
core::Result<void> bind_names(Program& program);

}  // namespace sluice::jinja
