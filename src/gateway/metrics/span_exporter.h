// Sends spans to an OpenTelemetry collector in batches. Any thread hands in; the owner's loop
// sends. Over the limit spans are dropped and counted: tracing never holds a request up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/queue.h"
#include "core/result.h"
#include "gateway/metrics/trace.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace sluice::gateway {

struct SpanExporterOptions {
  net::EventLoop& loop;
  const core::Logger& log;
  net::Url collector;  // "http://127.0.0.1:4318"; "/v1/traces" is added
  std::string service_version;
  int64_t queue_spans_max = 4096;
  int64_t batch_spans_max = 512;
  int64_t interval_ns = 1'000'000'000;
};

class SpanExporter {
 public:
  explicit SpanExporter(SpanExporterOptions options);
  ~SpanExporter();
  SpanExporter(const SpanExporter&) = delete;
  SpanExporter& operator=(const SpanExporter&) = delete;

  void start();                     // on the loop's thread
  void add(FinishedSpan finished);  // any thread
  int64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  class Sink;
  void tick();
  void send_batch();

  const SpanExporterOptions options_;
  core::BoundedQueue<FinishedSpan> queue_;
  std::atomic<int64_t> dropped_{0};
  net::HttpClient client_;
  net::Timer timer_;
  std::vector<FinishedSpan> pending_;
  bool sending_ = false;
};

}  // namespace sluice::gateway
