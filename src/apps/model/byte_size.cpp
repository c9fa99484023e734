#include "apps/model/byte_size.h"

#include <cctype>
#include <charconv>
#include <cmath>

namespace sluice::apps {
namespace {

struct Unit {
  char letter;
  std::string_view name;
  int64_t bytes;
};
constexpr Unit kUnits[] = {{'t', "TiB", int64_t{1} << 40},
                           {'g', "GiB", int64_t{1} << 30},
                           {'m', "MiB", int64_t{1} << 20},
                           {'k', "KiB", int64_t{1} << 10},
                           {'b', "B", 1}};

bool names(std::string_view text, const Unit& unit) {
  std::string lower;
  for (const char c : text) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.size() == 1) return lower[0] == unit.letter;
  return unit.letter != 'b' && lower == std::string{unit.letter, 'i', 'b'};
}

}  // namespace

core::Result<int64_t> parse_byte_size(std::string_view text) {
  const auto bad = [&] {
    return core::invalid(
        "'{}' is no size: a number with KiB, MiB, GiB or TiB is expected, e.g. 2GiB", text);
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return bad();
  std::string_view rest = text.substr(static_cast<size_t>(end - text.data()));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  double factor = rest.empty() ? 1 : 0;
  for (const Unit& unit : kUnits)
    if (names(rest, unit)) factor = static_cast<double>(unit.bytes);
  constexpr double kBytesMax = 0x1p62;
  if (factor == 0 || number * factor > kBytesMax) return bad();
  return static_cast<int64_t>(number * factor);
}

std::string byte_size_text(int64_t bytes) {
  for (const Unit& unit : kUnits)
    if (bytes >= unit.bytes && unit.bytes > 1)
      return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(unit.bytes),
                         unit.name);
  return fmt::format("{} B", bytes);
}

}  // namespace sluice::apps
