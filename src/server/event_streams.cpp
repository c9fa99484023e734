#include "server/event_streams.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "net/sse.h"

namespace sluice::server {

EventStreams::EventStreams(Identity identity, Parts parts)
    : identity_(std::move(identity)), parts_(parts), timer_(parts.loop) {}

std::optional<api::Error> EventStreams::open(net::Responder responder,
                                             std::optional<std::string_view> last_event_id) {
  std::erase_if(streams_, [](const Stream& stream) { return !stream.responder.is_open(); });
  if (streams_.size() >= kStreamsMax)
    return api::overloaded(fmt::format("{} streams of events are open, the limit", kStreamsMax), 1);
  const net::Header headers[] = {{"content-type", net::kSseContentType},
                                 {"cache-control", "no-cache"}};
  responder.start_stream(200, headers);
  streams_.push_back({.responder = std::move(responder), .load = {}});
  const std::optional<uint64_t> seen = sequence_of(last_event_id);
  tell(&streams_.back(), seen ? parts_.pages.since(*seen) : parts_.pages.snapshot());
  if (!timer_.running()) start_timer();
  return std::nullopt;
}

std::optional<uint64_t> EventStreams::sequence_of(
    std::optional<std::string_view> last_event_id) const {
  if (!last_event_id || !last_event_id->starts_with(identity_.epoch)) return std::nullopt;
  std::string_view rest = last_event_id->substr(identity_.epoch.size());
  if (!rest.starts_with('-')) return std::nullopt;
  rest.remove_prefix(1);
  uint64_t sequence = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), sequence);
  if (error != std::errc() || end != rest.data() + rest.size()) return std::nullopt;
  return sequence;
}

api::EngineLoad EventStreams::load() const {
  const engine::EngineStats stats = parts_.engine.stats();
  return {.running = stats.running,
          .waiting = stats.waiting,
          .queued_prompt_tokens = stats.queued_tokens,
          .pages = stats.pages,
          .pages_used = stats.pages_used,
          .pages_cached = stats.pages_cached,
          .prefill_tokens_per_s = stats.prefill_tokens_per_s,
          .decode_tokens_per_s = stats.decode_tokens_per_s,
          .decode_step_ms = stats.decode_step_s * 1e3};
}

void EventStreams::tell(Stream* stream, const PageJournal::News& news) {
  stream->sequence = news.sequence;
  stream->load = load();
  stream->told_ns = parts_.loop.now_ns();
  std::string out = fmt::format("id: {}-{}\n", identity_.epoch, news.sequence);
  net::append_sse_data(
      api::to_json(api::EngineEvent{.epoch = identity_.epoch,
                                    .sequence = news.sequence,
                                    .snapshot = news.kind == PageJournal::News::Kind::kSnapshot,
                                    .added = news.added,
                                    .removed = news.removed,
                                    .name_space = identity_.name_space,
                                    .page_tokens = identity_.page_tokens,
                                    .context_tokens_max = identity_.context_tokens_max,
                                    .draining = draining_,
                                    .load = stream->load}),
      &out);
  stream->responder.write(out);
}

void EventStreams::tick() {
  std::erase_if(streams_, [](const Stream& stream) { return !stream.responder.is_open(); });
  const int64_t now_ns = parts_.loop.now_ns();
  const uint64_t sequence = parts_.pages.sequence();
  const api::EngineLoad now = load();
  for (Stream& stream : streams_) {
    if (stream.responder.buffered_bytes() > kUnsentBytesMax) continue;
    if (stream.sequence != sequence || stream.load != now || now_ns - stream.told_ns >= kSilenceNs)
      tell(&stream, parts_.pages.since(stream.sequence));
  }
  if (!streams_.empty()) start_timer();
}

void EventStreams::start_timer() {
  timer_.start(kPeriodNs, [this] { tick(); });
}

void EventStreams::drain() {
  draining_ = true;
  for (Stream& stream : streams_)
    if (stream.responder.is_open()) tell(&stream, parts_.pages.since(stream.sequence));
}

void EventStreams::finish_all() {
  for (Stream& stream : streams_)
    if (stream.responder.is_open()) stream.responder.finish();
  streams_.clear();
}

}  // namespace sluice::server
