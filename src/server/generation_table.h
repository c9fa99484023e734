// The requests that the engine is working on, by the ids that the engine knows them by.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "server/event_bridge.h"
#include "server/generation.h"

namespace sluice::server {

// Belongs to the event loop's thread.
class GenerationTable {
 public:
  explicit GenerationTable(engine::Engine& engine) : engine_(engine) {}

  void add(std::shared_ptr<Generation> generation);

  // Hands the events on and sends what they bring; what has ended is forgotten. Events of requests
  // that are gone already mean nothing.
  void on_events(const EventBatch& batch, int64_t now_ns);

  // The client has gone: the engine stops, and the request is forgotten.
  void abandon(const Generation& generation);

  // Asks the engine to end everything; the ends come as events.
  void cancel_all();
  void ping(int64_t before_ns, int64_t now_ns);
  bool empty() const { return slots_.empty(); }

 private:
  struct Slot {
    std::shared_ptr<Generation> generation;
    size_t choice = 0;
  };
  Slot* find(engine::RequestId id);
  void cancel(const Generation& generation);
  void forget(const Generation& generation);  // its ids mean nothing from now on
  std::vector<std::shared_ptr<Generation>> all() const;

  engine::Engine& engine_;
  std::unordered_map<uint64_t, Slot> slots_;
};

}  // namespace sluice::server
