// GET /metrics: Prometheus text with vLLM's names, so that existing dashboards, autoscalers and
// endpoint pickers read it unchanged.
#pragma once

#include <cstdint>
#include <string>

#include "engine/stats.h"
#include "net/http_server.h"

namespace sluice::server {

struct MetricsInput {
  const engine::EngineStats& engine;
  const net::ServerStats& http;
  const engine::Histogram& request_n;
  std::string model_name;  // the label of every sample
  int64_t page_tokens = 0;
  int64_t resident_bytes = 0;  // of this process; 0 where unknown
};

std::string metrics_text(const MetricsInput& input);

}  // namespace sluice::server
