#include "contract/money.h"

#include <array>
#include <limits>

#include "core/assert.h"

namespace sluice::contract {

std::string_view to_text(Unit unit) {
  constexpr std::array<std::string_view, kUnits> kNames = {"prompt_token", "cached_prompt_token",
                                                           "output_token", "reasoning_token",
                                                           "compute_microsecond"};
  return kNames[static_cast<size_t>(unit)];
}

NanoMoney amount_of(int64_t quantity, Rate rate) {
  ASSERT(quantity >= 0 && rate.nano_per_million >= 0, "{} units at {}", quantity,
         rate.nano_per_million);
  constexpr int64_t kMillion = 1'000'000;
  const __int128 exact = static_cast<__int128>(quantity) * rate.nano_per_million;
  const __int128 rounded = (exact + kMillion / 2) / kMillion;
  ASSERT(rounded <= std::numeric_limits<int64_t>::max(), "{} units at {} do not fit", quantity,
         rate.nano_per_million);
  return {static_cast<int64_t>(rounded)};
}

}  // namespace sluice::contract
