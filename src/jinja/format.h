// Python's two ways to fill in a text: "%s" % values, and "{}".format(values).
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "jinja/native.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

// text % values: a tuple fills several places, a dict those with names.
core::Result<Value> format_percent(Render& render, const Value& text, const Value& values);

// text.format(…). Attributes of the arguments obey the sandbox.
core::Result<std::string> format_braces(Render& render, std::string_view text,
                                        const Arguments& arguments);

}  // namespace sluice::jinja
