// loop, caller, kwargs and varargs exist where a body uses them.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

#include "jinja/ast.h"

namespace sluice::jinja {

// Those of the names that the body loads before it stores them, in the order of its source.
std::set<std::string, std::less<>> loaded_names(Body& body,
                                                std::initializer_list<std::string_view> names);

}  // namespace sluice::jinja
