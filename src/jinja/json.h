// tojson: Python's json.dumps.
#pragma once

#include <optional>
#include <string>

#include "core/result.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

struct JsonOptions {
  bool ascii_only = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; nothing = all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// An error for what JSON cannot hold: undefined, generators, macros.
core::Result<std::string> to_json(Render& render, const Value& value, const JsonOptions& options);

}  // namespace sluice::jinja
