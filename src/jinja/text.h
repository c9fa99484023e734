// Values as text: Python's str() and repr().
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

// str(): strings as they are, undefined as nothing.
core::Result<std::string> to_text(Render& render, const Value& value);
core::Result<void> append_text(Render& render, std::string& out, const Value& value);

// repr(): strings in quotes, as inside of a printed list.
core::Result<void> append_repr(Render& render, std::string& out, const Value& value);
std::string quoted(std::string_view text);

// Shortest digits that read back as the same float: "0.1", "1e+16", "inf".
std::string real_text(double value);

// & < > " ' as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace sluice::jinja
