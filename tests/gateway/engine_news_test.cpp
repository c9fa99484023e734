#include "gateway/routing/engine_news.h"

#include <gtest/gtest.h>

#include "api/engine_event.h"

namespace sluice::gateway {
namespace {

std::shared_ptr<const RoutingTable> table_of_two() {
  contract::Snapshot snapshot;
  snapshot.pools.emplace_back().id = "own";
  contract::Model& model = snapshot.models.emplace_back();
  model.id = "m";
  model.vocabulary_file = "vocabulary.gguf";
  for (const char* id : {"a", "b"}) {
    contract::Replica& replica = snapshot.replicas.emplace_back();
    replica.id = id;
    replica.pool = "own";
    replica.model = "m";
    replica.url = "http://127.0.0.1:1/v1";
  }
  return RoutingTable::make(Directory::compile(std::move(snapshot), {}), nullptr, {4096});
}

TEST(engine_news, what_an_engine_writes_is_taken_in) {
  const auto table = table_of_two();
  const RoutedReplica& replica = table->replicas()[0];
  const std::vector<uint64_t> pages = {0xfedcba9876543210, 2, 3};
  api::EngineEvent event;
  event.epoch = "e1";
  event.sequence = 3;
  event.snapshot = true;
  event.added = pages;
  event.name_space = 77;
  event.page_tokens = 16;
  event.load.running = 2;
  event.load.waiting = 1;
  event.load.pages = 10;
  event.load.pages_used = 4;
  event.load.decode_step_ms = 1.5;
  const auto heard = hear(*table, replica, api::to_json(event), 0);
  ASSERT_TRUE(heard.ok()) << (heard.ok() ? "" : heard.error().message);
  EXPECT_EQ(heard.value(), Heard::kUnderstood);
  EXPECT_EQ(replica.tracker->view(0).streams, 3);
  EXPECT_NEAR(replica.tracker->view(0).kv_share, 0.4, 1e-6);
  const PrefixGeometry geometry = table->prefix_geometry(*replica.entry->model);
  EXPECT_EQ(geometry.kind, PrefixGeometry::Kind::kTokens);
  EXPECT_EQ(geometry.page_tokens, 16);
  EXPECT_EQ(geometry.name_space, 77u);
  std::array<int32_t, PrefixIndex::kReplicasMax> blocks;
  table->prefixes().match(pages, 0, blocks);
  EXPECT_EQ(blocks[static_cast<size_t>(replica.slot.value)], 3);

  event.epoch = "e2";
  event.snapshot = false;
  event.draining = true;
  EXPECT_EQ(hear(*table, replica, api::to_json(event), 0).value(), Heard::kAskForSnapshot);
  EXPECT_EQ(replica.tracker->state(), contract::ReplicaState::kDraining);
}

TEST(engine_news, says_what_is_no_event) {
  const auto table = table_of_two();
  for (const std::string_view data : {"", "[]", "{}", "{\"epoch\":1}"})
    EXPECT_FALSE(hear(*table, table->replicas()[0], data, 0).ok()) << data;
  std::string data = api::to_json(api::EngineEvent{});
  data.replace(data.find("0000000000000000"), 16, "000000000000000x");
  const auto heard = hear(*table, table->replicas()[0], data, 0);
  ASSERT_FALSE(heard.ok());
  EXPECT_NE(heard.error().message.find("namespace"), std::string::npos) << heard.error().message;
}

}  // namespace
}  // namespace sluice::gateway
