#include "gateway/metrics/trace.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "gateway/metrics/span_exporter.h"
#include "net/http_server.h"

namespace sluice::gateway {
namespace {

using nlohmann::json;

constexpr std::string_view kHeader = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(Trace, ReadsAndWritesTheContext) {
  const auto context = parse_traceparent(kHeader);
  ASSERT_TRUE(context);
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(to_text(*context), kHeader);
  EXPECT_TRUE(parse_traceparent("01" + std::string(kHeader.substr(2)) + "-more"))
      << "a later version";
}

TEST(Trace, RefusesWhatTheSpecificationRefuses) {
  const std::string good(kHeader);
  const auto with = [&](size_t at, std::string_view piece) {
    std::string text = good;
    return text.replace(at, piece.size(), piece);
  };
  for (const std::string& text :
       {std::string(), good.substr(1), good + "-x", good + "0", with(0, "ff"), with(2, "_"),
        with(5, "G"), with(5, "A"), with(3, std::string(32, '0')), with(36, std::string(16, '0')),
        with(53, "zz")})
    EXPECT_FALSE(parse_traceparent(text)) << text;
}

TEST(Trace, ASpanContinuesItsCallersTraceOrBeginsOne) {
  const auto caller = parse_traceparent(kHeader);
  const Span child = begin_span(caller, 4, 5);
  EXPECT_EQ(child.self.trace_id, caller->trace_id);
  EXPECT_EQ(child.parent_id, caller->span_id);
  EXPECT_NE(child.self.span_id, caller->span_id);
  const Span first = begin_span(std::nullopt, 0, 0);
  EXPECT_TRUE(parse_traceparent(to_text(first.self))) << "no id is all zero, whatever chance says";
}

FinishedSpan finished(int16_t status) {
  FinishedSpan span{begin_span(parse_traceparent(kHeader), 4, 5), {}};
  span.event.model = "m";
  span.event.status = status;
  span.event.started_unix_ns = 100;
  span.event.total_ns = 23;
  return span;
}

TEST(Trace, OtlpJsonHasTheEncodingOfTheSpecification) {
  const FinishedSpan spans[] = {finished(200), finished(502)};
  const json body = json::parse(otlp_json(spans, "1.0"));
  const json& list = body["resourceSpans"][0]["scopeSpans"][0]["spans"];
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]["traceId"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(list[0]["parentSpanId"], "b7ad6b7169203331");
  EXPECT_EQ(list[0]["name"], "chat_completion m");
  EXPECT_EQ(list[0]["endTimeUnixNano"], "123") << "64-bit integers are strings";
  EXPECT_FALSE(list[0].contains("status"));
  EXPECT_EQ(list[1]["status"]["code"], 2);
}

// A collector that answers with one status, on the exporter's own loop.
class ExporterTest : public testing::Test {
 protected:
  void run(int status, int spans, int64_t queue_max) {
    net::HttpServer collector(
        {.loop = loop_, .handler = [&](const net::Request& request, net::Responder responder) {
           EXPECT_EQ(request.path, "/v1/traces");
           const json body = json::parse(request.body);
           taken_ += std::ssize(body["resourceSpans"][0]["scopeSpans"][0]["spans"]);
           ++requests_;
           responder.send({.status = status});
           if (taken_ >= std::min<int64_t>(spans, queue_max))
             end_.start(20'000'000, [&] { loop_.stop(); });
         }});
    const uint16_t port = collector.listen("127.0.0.1", 0).value();
    SpanExporter exporter({.loop = loop_,
                           .log = log_,
                           .collector = {.endpoint = {"127.0.0.1", port}, .path = ""},
                           .service_version = "1",
                           .queue_spans_max = queue_max,
                           .batch_spans_max = 4,
                           .interval_ns = 1'000'000});
    for (int i = 0; i < spans; ++i) exporter.add(finished(200));
    exporter.start();
    loop_.run();
    dropped_ = exporter.dropped();
  }

  net::EventLoop loop_;
  net::Timer end_{loop_};
  core::Logger log_{core::LogLevel::kError};
  int64_t taken_ = 0;
  int64_t requests_ = 0;
  int64_t dropped_ = 0;
};

TEST_F(ExporterTest, SendsBatchesAndDropsNothing) {
  run(200, 10, 100);
  EXPECT_EQ(taken_, 10);
  EXPECT_EQ(requests_, 3);
  EXPECT_EQ(dropped_, 0);
}

TEST_F(ExporterTest, OverItsLimitItDropsAndCounts) {
  run(200, 10, 6);
  EXPECT_EQ(taken_, 6);
  EXPECT_EQ(dropped_, 4);
}

TEST_F(ExporterTest, WhatACollectorRefusesIsCounted) {
  run(500, 4, 100);
  EXPECT_EQ(dropped_, 4);
}

}  // namespace
}  // namespace sluice::gateway
