// Where request ids come from, and what can be read off one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "contract/usage_event.h"
#include "core/result.h"

namespace sluice::contract {

// Takes what to_text() writes and nothing else: "req_", 16 hexadecimal digits, "_", 16 more.
core::Result<RequestId> parse_request_id(std::string_view text);

// A sequence is the number of the gateway's start and a count: ids stay unique where the last run
// lost its records, and the sweep knows the requests of earlier runs by their ids.
inline constexpr int kRequestCountBits = 40;
constexpr uint64_t start_of(RequestId id) {
  return id.sequence >> kRequestCountBits;
}

class RequestIds {
 public:
  // `start`: higher at each start of this gateway (store::Journal::start()), below 2^24.
  RequestIds(uint64_t gateway, uint64_t start)
      : gateway_(gateway), next_((start << kRequestCountBits) + 1) {}

  RequestId next() { return {gateway_, next_.fetch_add(1, std::memory_order_relaxed)}; }
  // Of this gateway, at this start or an earlier one.
  bool has_given(RequestId id) const {
    return id.gateway == gateway_ && start_of(id) > 0 &&
           id.sequence < next_.load(std::memory_order_relaxed);
  }

 private:
  uint64_t gateway_;
  std::atomic<uint64_t> next_;
};

}  // namespace sluice::contract
