#include "contract/request_id.h"

#include <optional>

namespace sluice::contract {
namespace {

constexpr std::string_view kPrefix = "req_";
constexpr size_t kDigits = 16;

std::optional<uint64_t> hexadecimal(std::string_view digits) {
  uint64_t value = 0;
  for (const char c : digits) {
    uint64_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return std::nullopt;
    }
    value = value << 4 | digit;
  }
  return value;
}

}  // namespace

core::Result<RequestId> parse_request_id(std::string_view text) {
  const auto refuse = [] {
    return core::invalid("a request id is 'req_', 16 lower-case hexadecimal digits, '_', 16 more");
  };
  if (text.size() != kPrefix.size() + 2 * kDigits + 1 || !text.starts_with(kPrefix) ||
      text[kPrefix.size() + kDigits] != '_')
    return refuse();
  const auto gateway = hexadecimal(text.substr(kPrefix.size(), kDigits));
  const auto sequence = hexadecimal(text.substr(kPrefix.size() + kDigits + 1));
  if (!gateway || !sequence) return refuse();
  return RequestId{*gateway, *sequence};
}

}  // namespace sluice::contract
