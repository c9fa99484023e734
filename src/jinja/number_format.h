// One number or text in a field: sign, digits, grouping, width.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

struct NumberFormat {
  char sign = '-';         // '-': only of negative numbers; '+' or ' ' also before others
  bool alternate = false;  // "0x"
  bool zero_fill = false;
  bool percent_style = false;  // of "%5d" rather than of "{:5d}"
  char grouping = 0;           // ',' or '_' between thousands
  int64_t width = 0;           // in characters
  int64_t precision = -1;      // none
};

// With sign and zeros up to the width where zero_fill is set. `type` is one of d b o x X.
std::string format_integer(int64_t value, char type, const NumberFormat& format);
// `type` is one of e E f F g G %, or 0 for the shortest text.
std::string format_real(double value, char type, const NumberFormat& format);

// `align` is one of < > ^.
std::string padded(std::string_view text, int64_t width, char align, std::string_view fill);

// format(value, spec): "[[fill]align][sign][#][0][width][grouping][.precision][type]".
core::Result<std::string> format_value(Render& render, const Value& value, std::string_view spec);

// Towards zero; an error for what has no integer.
core::Result<int64_t> integer_from_real(double value);

}  // namespace sluice::jinja
