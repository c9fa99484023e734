// What a data loop's gateway is made with.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "contract/receipt.h"
#include "contract/request_id.h"
#include "contract/usage_event.h"
#include "core/clock.h"
#include "core/log.h"
#include "gateway/directory/key_hash.h"
#include "gateway/limits/output_estimate.h"
#include "gateway/limits/prompt_estimate.h"
#include "gateway/metrics/access_log.h"
#include "gateway/metrics/counters.h"
#include "gateway/metrics/trace.h"
#include "net/event_loop.h"

namespace sluice::gateway {

class LimitTable;
class ModelTexts;

// Of one data loop. docs/gateway.md lists them.
struct EdgeLimits {
  int64_t requests_max = 20'000;         // running at once; a further one gets 503
  int64_t waiting_max = 1024;            // of these, held back by the valve; then 503
  int64_t wait_max_ns = 30'000'000'000;  // however late the deadline is that a request names
  int64_t replacement_wait_ns = 0;       // of these, where no replica is left: another may come
  int64_t request_max_ns = 3'600'000'000'000;     // from its arrival to the last byte; then it ends
  int64_t stall_least_ns = 0;                     // no stream stalls before it was silent so long
  int64_t heartbeat_ns = 10'000'000'000;          // of silence before a stream's ": ping" line
  int64_t answer_bytes_max = 64 << 20;            // of an answer that is no stream; over it: 502
  int64_t event_bytes_max = 1 << 20;              // of a stream; over it the stream ends
  int64_t buffered_bytes_max = 256 << 10;         // for a slow reader, before the upstream waits
  int32_t resumes_max = 3;                        // of one stream
  int64_t connect_timeout_ns = 5'000'000'000;     // to an upstream
  int64_t response_timeout_ns = 600'000'000'000;  // of an upstream, until the first token
};

// What all loops learn together. Outlives snapshots.
class Estimates {
 public:
  explicit Estimates(int64_t pairs_max = 1 << 14) : outputs(pairs_max) {}
  OutputEstimates outputs;                                             // by key and model
  std::shared_ptr<PromptEstimate> prompts_of(std::string_view model);  // locks: not per request

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<PromptEstimate>, std::less<>> prompts_;
};

// Told of each request that has ended, on the loop: access log and traces.
using EndObserver =
    std::function<void(const contract::UsageEvent&, const AccessExtras&, const Span&)>;

struct GatewayOptions {
  net::EventLoop& loop;
  const core::Clock& clock;
  const core::Logger& log;
  contract::RecordSink& records;
  contract::RequestIds& request_ids;
  LimitTable& limits;
  Estimates& estimates;
  const ModelTexts& texts;
  LoopMetrics& metrics;
  std::vector<HashKey> hash_keys = {};
  std::map<std::string, std::string> secrets = {};  // by the names that replicas give
  const contract::ReceiptSigner* signer = nullptr;  // null: no signed receipts
  EndObserver on_end = {};                          // may be empty
  EdgeLimits edge = {};
  std::string guest_key = {};      // id of the key of those who show none; "": they are refused
  std::string default_model = {};  // of requests that name none, or "default"; "": they are refused
  std::string allowed_origin = {};  // of browsers' pages (CORS): "*" any; "" none
  uint64_t seed = 0;                // of chance: trace ids, choices among equals
};

}  // namespace sluice::gateway
