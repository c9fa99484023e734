#include "gateway/metrics/span_exporter.h"

namespace sluice::gateway {

// Only the status counts; the collector's answer says nothing else that we could use.
class SpanExporter::Sink final : public net::ResponseSink {
 public:
  Sink(SpanExporter* exporter, int64_t spans) : exporter_(exporter), spans_(spans) {}
  void on_head(const net::ResponseHead& head) override { status_ = head.status; }
  void on_body(std::string_view) override {}
  void on_end(net::CallEnd end, std::string_view message) override {
    exporter_->sending_ = false;
    if (end == net::CallEnd::kComplete && status_ >= 200 && status_ < 300)
      return exporter_->send_batch();  // the next, where more wait

    exporter_->dropped_.fetch_add(spans_, std::memory_order_relaxed);
    exporter_->options_.log.warning("{} spans were not taken by the collector: {} {}", spans_,
                                    status_, message);
  }

 private:
  SpanExporter* const exporter_;  // outlives the sink: its client's destructor lets the sink go
  const int64_t spans_;
  int status_ = 0;
};

SpanExporter::SpanExporter(SpanExporterOptions options)
    : options_(std::move(options)),
      queue_(options_.queue_spans_max),
      client_(options_.loop, options_.collector.endpoint),
      timer_(options_.loop) {}

SpanExporter::~SpanExporter() = default;

void SpanExporter::start() {
  timer_.start(options_.interval_ns, [this] { tick(); });
}

void SpanExporter::add(FinishedSpan finished) {
  if (queue_.push(std::move(finished)) != core::PushResult::kOk)
    dropped_.fetch_add(1, std::memory_order_relaxed);
}

void SpanExporter::tick() {
  if (!sending_) send_batch();
  start();
}

void SpanExporter::send_batch() {
  if (pending_.empty()) queue_.drain(&pending_);
  if (pending_.empty()) return;
  const auto count = std::min(pending_.size(), static_cast<size_t>(options_.batch_spans_max));
  const std::string body = otlp_json(std::span(pending_).first(count), options_.service_version);
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(count));
  const std::string target = options_.collector.path + "/v1/traces";
  const net::Header headers[] = {{"Content-Type", "application/json"}};
  sending_ = true;
  client_.send({.method = net::Method::kPost, .target = target, .headers = headers, .body = body},
               std::make_shared<Sink>(this, static_cast<int64_t>(count)));
}

}  // namespace sluice::gateway
