// Checks of numbers on the command line: CLI11's let NaN pass.
#pragma once

#include <cmath>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>

namespace sluice::apps {

inline CLI::Validator finite_number() {
  return CLI::Validator(
      [](std::string& text) {
        return std::isfinite(std::strtod(text.c_str(), nullptr)) ? "" : text + " is no number";
      },
      "");
}

// CLI::PositiveNumber writes the largest double out, 309 digits.
inline CLI::Validator positive_number() {
  return CLI::Validator(
      [](std::string& text) {
        const double value = std::strtod(text.c_str(), nullptr);
        return std::isfinite(value) && value > 0 ? "" : text + " is no number over 0";
      },
      "");
}

}  // namespace sluice::apps
