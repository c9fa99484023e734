#include "net/sse.h"

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

std::string events_of(std::string_view bytes, size_t cut) {
  SseParser parser;
  std::string all;
  const auto on_event = [&](const SseEvent& event) {
    all += fmt::format("<{}|{}>", event.event, event.data);
  };
  EXPECT_TRUE(parser.feed(bytes.substr(0, cut), on_event).ok());
  EXPECT_TRUE(parser.feed(bytes.substr(cut), on_event).ok());
  return all;
}

struct SseCase {
  std::string_view bytes;
  std::string_view events;
};
constexpr SseCase kCases[] = {
    {"data: {\"a\":1}\n\ndata: [DONE]\n\n", "<|{\"a\":1}><|[DONE]>"},
    {"data: a\r\n\r\ndata: b\r\rdata:c\n\n", "<|a><|b><|c>"},
    {"data: a\r\ndata: b\r\n\r\n", "<|a\nb>"},
    {": ping\n\ndata: a\n: x\ndata: b\n\n", "<|a\nb>"},
    {"event: message_start\ndata: {}\n\ndata: x\n\n", "<message_start|{}><|x>"},
    {"data\n\ndata:\ndata\n\n", "<|><|\n>"},
    {"event: lost\n\ndata: a\n\n", "<|a>"},
    {"id: 1\nretry: 5\nfoo: x\ndata:  two spaces\n\n", "<| two spaces>"},
    {"\xef\xbb\xbf"
     "data: a\n\n",
     "<|a>"},
    {"data: without an end\n", ""},
};

TEST(Sse, ParsesAtEveryCut) {
  for (const SseCase& c : kCases)
    for (size_t cut = 0; cut <= c.bytes.size(); ++cut)
      ASSERT_EQ(events_of(c.bytes, cut), c.events) << c.bytes << " cut at " << cut;
}

TEST(Sse, WritesWhatItReads) {
  std::string bytes(kSsePing);
  append_sse_data("{\"a\":1}", &bytes);
  append_sse_event("delta", "line\nline\n", &bytes);
  bytes += kSseDone;
  EXPECT_EQ(bytes,
            ": ping\n\ndata: {\"a\":1}\n\nevent: delta\ndata: line\ndata: line\ndata: \n\n"
            "data: [DONE]\n\n");
  EXPECT_EQ(events_of(bytes, 0), "<|{\"a\":1}><delta|line\nline\n><|[DONE]>");
}

TEST(Sse, RefusesAnEndlessEvent) {
  SseParser parser;
  const std::string piece(1 << 20, 'x');
  for (int64_t i = 0; i < SseParser::kEventBytesMax >> 20; ++i)
    ASSERT_TRUE(parser.feed(piece, [](const SseEvent&) {}).ok());
  EXPECT_FALSE(parser.feed("x", [](const SseEvent&) {}).ok());
}

}  // namespace
}  // namespace sluice::net
