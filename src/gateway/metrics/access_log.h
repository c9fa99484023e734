// One JSON line for each request: who, what, where, how long, what it came to. No prompt and no
// answer, no secret.
#pragma once

#include <string>
#include <string_view>

#include "contract/usage_event.h"

namespace sluice::gateway {

// What the event does not say.
struct AccessExtras {
  std::string_view remote_address;
  std::string_view client_request_id;  // x-request-id; "" none
  std::string_view trace_id;           // 32 hexadecimal digits; "" none
};

// Appends the line with its '\n'.
void append_access_line(const contract::UsageEvent& event, const AccessExtras& extras,
                        std::string* out);

}  // namespace sluice::gateway
