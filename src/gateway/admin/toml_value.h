// TOML as a contract::Value with the line of each value. A date-time with its offset becomes the
// second since 1970.
#pragma once

#include <string>
#include <string_view>

#include "contract/value.h"

namespace sluice::gateway {

struct TomlText {
  contract::Value value;
  std::string fault;  // "": none; of the syntax, or of a date without an offset
  int32_t fault_line = 0;
};
TomlText parse_toml(std::string_view text);

}  // namespace sluice::gateway
