// Tokens to a syntax tree.
#pragma once

#include <string_view>

#include "core/result.h"
#include "jinja/ast.h"

namespace sluice::jinja {

// Nested deeper than this, a template is refused: the stack of parser and renderer is finite.
constexpr int kNestingMax = 200;

// The names in the tree have no slots yet: see bind_names(). Errors as in Template::parse.
core::Result<Program> parse_program(std::string_view source);

}  // namespace sluice::jinja
