#include "gateway/limits/limit.h"

#include <array>

namespace sluice::gateway {
namespace {

constexpr std::array<std::string_view, kLimitObjects> kObjectNames = {"key", "project", "tenant",
                                                                      "model"};

struct DimensionNames {
  std::string_view text;
  std::string_view phrase;
};
constexpr std::array<DimensionNames, kDimensions> kDimensionNames = {{
    {"requests_per_minute", "requests per minute"},
    {"input_tokens_per_minute", "input tokens per minute"},
    {"output_tokens_per_minute", "output tokens per minute"},
    {"tokens_per_minute", "tokens per minute"},
    {"concurrent_streams", "concurrent streams"},
    {"tokens_per_day", "tokens per day"},
    {"tokens_per_month", "tokens per month"},
    {"money_per_day", "spending per day"},
    {"money_per_month", "spending per month"},
    {"balance", "prepaid balance"},
}};

constexpr std::array<std::string_view, 4> kAwaitedPhrases = {
    "it has just begun", "the usage store does not answer",
    "the usage store does not have all records yet", "the usage store cannot be read"};

}  // namespace

std::string_view to_text(LimitObject object) {
  return kObjectNames[static_cast<size_t>(object)];
}
std::string_view to_text(Dimension dimension) {
  return kDimensionNames[static_cast<size_t>(dimension)].text;
}
std::string_view to_phrase(Dimension dimension) {
  return kDimensionNames[static_cast<size_t>(dimension)].phrase;
}
std::string_view to_phrase(Awaited awaited) {
  return kAwaitedPhrases[static_cast<size_t>(awaited)];
}

}  // namespace sluice::gateway
