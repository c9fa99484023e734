#include "gateway/routing/engine_news.h"

#include "api/engine_event.h"

namespace sluice::gateway {

core::Result<Heard> hear(const RoutingTable& table, const RoutedReplica& replica,
                         std::string_view data, int64_t now_ns) {
  const auto parsed = api::parse_engine_event(data);
  if (!parsed.ok()) {
    const api::Error& error = parsed.error();
    return core::invalid("event of '{}': {} {}", replica.tracker->id(), error.param, error.message);
  }
  const api::HeardEngineEvent& event = parsed.value();
  EngineLoad load;
  load.running = event.load.running;
  load.waiting = event.load.waiting;
  load.queued_prompt_tokens = event.load.queued_prompt_tokens;
  load.pages_used = event.load.pages_used;
  load.pages = event.load.pages;
  load.state = event.draining ? contract::ReplicaState::kDraining : contract::ReplicaState::kReady;
  replica.tracker->on_load(load, now_ns);
  table.on_geometry(*replica.entry, {PrefixGeometry::Kind::kTokens,
                                     static_cast<int32_t>(event.page_tokens), event.name_space});
  const PageNews news = {
      .kind = event.snapshot ? PageNews::Kind::kSnapshot : PageNews::Kind::kChanges,
      .epoch = event.epoch,
      .sequence = event.sequence,
      .added = event.added,
      .removed = event.removed};
  return table.prefixes().on_pages(replica.slot, news, now_ns) ? Heard::kUnderstood
                                                               : Heard::kAskForSnapshot;
}

}  // namespace sluice::gateway
