// GET /internal/events: gateways learn what the prefix cache holds and how busy the engine is.
//
// A stream begins with a snapshot, or with what came behind the client's Last-Event-ID. Then an
// event tells of every change of the pages, at most one in kPeriodNs; without a change the load is
// told every kPeriodNs while it differs, and once in kSilenceNs in any case. A reader that is
// behind gets its changes joined into one event; one that missed more than the journal keeps, a
// fresh snapshot.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "api/engine_event.h"
#include "api/error.h"
#include "engine/engine.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "server/page_journal.h"

namespace sluice::server {

// Belongs to the event loop's thread.
class EventStreams {
 public:
  static constexpr int64_t kPeriodNs = 20'000'000;
  static constexpr int64_t kSilenceNs = 1'000'000'000;
  static constexpr size_t kStreamsMax = 16;
  static constexpr int64_t kUnsentBytesMax = 1 << 20;  // of a slow reader: it waits for its events

  struct Identity {
    uint64_t name_space = 0;
    int64_t page_tokens = 0;
    int64_t context_tokens_max = 0;
    std::string epoch;  // of this process
  };
  struct Parts {
    net::EventLoop& loop;
    const engine::Engine& engine;
    const PageJournal& pages;
  };
  EventStreams(Identity identity, Parts parts);

  // An Error where there are too many streams already. `last_event_id`: "EPOCH-SEQUENCE".
  std::optional<api::Error> open(net::Responder responder,
                                 std::optional<std::string_view> last_event_id);

  // From now on events say "draining"; the streams are told at once.
  void drain();
  void finish_all();

 private:
  struct Stream {
    net::Responder responder;
    uint64_t sequence = 0;
    api::EngineLoad load;
    int64_t told_ns = 0;
  };
  api::EngineLoad load() const;
  std::optional<uint64_t> sequence_of(std::optional<std::string_view> last_event_id) const;
  void tell(Stream* stream, const PageJournal::News& news);
  void tick();
  void start_timer();

  const Identity identity_;
  const Parts parts_;
  std::list<Stream> streams_;
  net::Timer timer_;  // runs while there are streams
  bool draining_ = false;
};

}  // namespace sluice::server
