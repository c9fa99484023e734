#include "contract/usage_event.h"

#include <array>

#include "core/hex.h"

namespace sluice::contract {

std::string to_text(RequestId id) {
  std::string text = "req_";
  text.reserve(37);
  core::append_hex(id.gateway, &text);
  text.push_back('_');
  core::append_hex(id.sequence, &text);
  return text;
}

std::string_view to_text(Outcome outcome) {
  constexpr std::array<std::string_view, kOutcomes> kNames = {"complete",
                                                              "complete_usage_missing",
                                                              "client_abort_before_first_token",
                                                              "client_abort",
                                                              "timed_out",
                                                              "upstream_error",
                                                              "upstream_error_with_usage",
                                                              "refused",
                                                              "gateway_lost",
                                                              "key_revoked"};
  return kNames[static_cast<size_t>(outcome)];
}

}  // namespace sluice::contract
