// What a limit hangs on and what it counts. docs/gateway-limits.md says what each promises.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::gateway {

enum class LimitObject : uint8_t { kKey, kProject, kTenant, kModel };
inline constexpr int kLimitObjects = 4;

enum class Dimension : uint8_t {
  // per minute: flows out evenly, so much saved up may be taken at once
  kRequestsPerMinute,
  kInputTokensPerMinute,
  kOutputTokensPerMinute,
  kTokensPerMinute,
  // at one time
  kConcurrentStreams,
  // in a UTC calendar period; money in nano-units
  kTokensPerDay,
  kTokensPerMonth,
  kMoneyPerDay,
  kMoneyPerMonth,
  // of a prepaid tenant: nano-units that are left
  kBalance,
};
inline constexpr int kDimensions = 10;

// What a calendar limit or a balance that is not known yet waits for.
enum class Awaited : uint8_t {
  kGateway,  // it has just begun
  kStore,    // does not answer
  kRecords,  // the store does not have all of them yet
  kReading,  // the store's answer is an error
};

std::string_view to_text(LimitObject object);     // "key"
std::string_view to_text(Dimension dimension);    // "tokens_per_minute", as in the snapshot
std::string_view to_phrase(Dimension dimension);  // "tokens per minute", for people
std::string_view to_phrase(Awaited awaited);      // "the usage store does not answer"

}  // namespace sluice::gateway
