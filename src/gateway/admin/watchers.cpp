#include "gateway/admin/watchers.h"

#include "api/json_writer.h"
#include "net/sse.h"

namespace sluice::gateway {

std::string change_json(const contract::ChangeRecord& change) {
  api::JsonWriter out;
  out.begin_object();
  out.key("generation").integer(change.generation);
  out.key("actor").string(change.actor);
  out.key("action").string(change.action);
  out.key("object").string(change.object);
  out.key("hash_before").string(change.hash_before);
  out.key("hash_after").string(change.hash_after);
  out.key("unix_ns").integer(change.unix_ns);
  out.end_object();
  return out.take();
}

Watchers::Watchers(net::EventLoop& loop, SnapshotKeeper& keeper)
    : loop_(loop), keeper_(keeper), ping_timer_(loop) {
  keeper_.on_change([this] { on_change(); });
}

bool Watchers::wait(Poll poll) {
  if (full()) return false;
  auto& waiting = waiting_.emplace_back(Waiting{std::move(poll), nullptr});
  waiting.timer = std::make_unique<net::Timer>(loop_);
  const auto place = std::prev(waiting_.end());
  waiting.timer->start(waiting.poll.timeout_ns, [this, place] {
    const auto expired = std::move(place->poll);
    waiting_.erase(place);
    if (expired.responder.is_open()) expired.answer(false);
  });
  return true;
}

bool Watchers::stream(net::Responder responder, int64_t after) {
  if (full()) return false;
  const net::Header headers[] = {{"Content-Type", net::kSseContentType},
                                 {"Cache-Control", "no-store"}};
  responder.start_stream(200, headers);
  responder.write(net::kSsePing);
  streams_.push_back({std::move(responder), after});
  send_changes(&streams_.back());
  if (!ping_timer_.running()) ping_timer_.start(kPingIntervalNs, [this] { ping(); });
  return true;
}

void Watchers::on_change() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (!it->poll.ready()) {
      ++it;
      continue;
    }
    const auto ready = std::move(it->poll);
    it = waiting_.erase(it);
    if (ready.responder.is_open()) ready.answer(true);
  }
  streams_.remove_if([](const Stream& stream) { return !stream.responder.is_open(); });
  for (Stream& stream : streams_) send_changes(&stream);
}

void Watchers::send_changes(Stream* stream) {
  std::string text;
  for (const contract::ChangeRecord& change : keeper_.changes())
    if (change.generation > stream->after)
      net::append_sse_event("change", change_json(change), &text);
  stream->after = keeper_.snapshot().generation;
  if (!text.empty()) stream->responder.write(text);
}

void Watchers::ping() {
  streams_.remove_if([](const Stream& stream) { return !stream.responder.is_open(); });
  for (Stream& stream : streams_) stream.responder.write(net::kSsePing);
  if (!streams_.empty()) ping_timer_.start(kPingIntervalNs, [this] { ping(); });
}

}  // namespace sluice::gateway
