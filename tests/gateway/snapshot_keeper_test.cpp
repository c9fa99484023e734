#include "gateway/admin/snapshot_keeper.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/snapshot_json.h"
#include "gateway/admin/admin_api.h"
#include "gateway/admin/snapshot_objects.h"
#include "memory_records.h"
#include "tests/contract/random_snapshot.h"

namespace sluice::gateway {
namespace {

using contract::ObjectKind;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;

class KeeperTest : public testing::Test {
 protected:
  KeeperTest() : folder_(testing::TempDir() + "/keeper_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string path() const { return folder_ + "/snapshot.json"; }
  KeeperOptions options() {
    return {
        .clock = clock_, .log = log_, .records = records_, .path = path(), .hash_key_ids = {"h"}};
  }
  static Change add_tenant(std::string id) {
    return {"key_admin", "tenants.create", ObjectKind::kTenant, id,
            [id](contract::Snapshot* s) -> core::Result<void, ChangeError> {
              s->tenants.push_back({.id = id});
              return {};
            }};
  }

  const std::string folder_;
  core::ManualClock clock_;
  core::Logger log_;
  MemoryRecords records_;
};

TEST_F(KeeperTest, AChangeIsRecordedPublishedAndOnDiskWhenApplyReturns) {
  SnapshotKeeper keeper(options(), {});
  std::vector<int64_t> seen;
  keeper.subscribe([&](auto directory) { seen.push_back(directory->generation()); });
  const auto before = keeper.directory();
  ASSERT_TRUE(keeper.apply(add_tenant("acme")).ok());
  EXPECT_THAT(seen, ElementsAre(0, 1));
  EXPECT_EQ(before->find_tenant("acme"), nullptr) << "what somebody holds does not change";
  EXPECT_NE(keeper.directory()->find_tenant("acme"), nullptr);
  ASSERT_EQ(records_.changes.size(), 1u);
  const contract::ChangeRecord& record = records_.changes[0];
  EXPECT_EQ(record.actor, "key_admin");
  EXPECT_EQ(record.object, "tenant/acme");
  EXPECT_EQ(record.hash_before, "");
  EXPECT_EQ(record.hash_after, sha256_hex(contract::to_json(contract::Tenant{.id = "acme"})));
  EXPECT_EQ(record.generation, 1);
  EXPECT_EQ(record.unix_ns, clock_.unix_ns());
  const auto file = read_snapshot_file(path());
  ASSERT_TRUE(file.ok() && file->has_value());
  EXPECT_EQ((*file)->snapshot, keeper.snapshot());
  const auto mode = std::filesystem::status(path()).permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(KeeperTest, WhatTheFirstKeyNeedsIsRecordedObjectByObject) {
  SnapshotKeeper keeper(options(), {});
  KeyHasher hasher({{"h", std::string(32, 'k')}});
  const auto random = [](std::span<uint8_t> bytes) { std::ranges::fill(bytes, uint8_t{7}); };
  ASSERT_TRUE(make_first_admin_key(keeper, clock_, hasher, random).ok());
  ASSERT_EQ(records_.changes.size(), 3u);
  const std::string key = "key/" + keeper.snapshot().keys[0].id;
  const std::pair<std::string, std::string> wanted[] = {{"tenants.create", "tenant/admin"},
                                                        {"projects.create", "project/admin"},
                                                        {"keys.create", key}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(records_.changes[i].actor, "command-line");
    EXPECT_EQ(records_.changes[i].action, wanted[i].first);
    EXPECT_EQ(records_.changes[i].object, wanted[i].second);
    EXPECT_NE(records_.changes[i].hash_after, "");
  }
  EXPECT_EQ(*make_first_admin_key(keeper, clock_, hasher, random), "") << "there is one";
  EXPECT_EQ(records_.changes.size(), 3u);
}

TEST_F(KeeperTest, WhatChangesNothingIsNoGeneration) {
  SnapshotKeeper keeper(options(), {});
  const Change nothing{"k", "tenants.update", ObjectKind::kTenant, "x",
                       [](contract::Snapshot*) { return core::Result<void, ChangeError>(); }};
  EXPECT_TRUE(keeper.apply(nothing).ok());
  EXPECT_EQ(keeper.snapshot().generation, 0);
  EXPECT_TRUE(records_.changes.empty());
}

TEST_F(KeeperTest, AnInvalidChangeOrAFullJournalLeavesEverythingAsItWas) {
  SnapshotKeeper keeper(options(), {});
  const auto invalid = keeper.apply(add_tenant("NOT AN ID"));
  ASSERT_FALSE(invalid.ok());
  EXPECT_EQ(invalid.error().code, ChangeError::Code::kInvalid);
  EXPECT_EQ(invalid.error().problems[0].path, "tenants[0].id");
  records_.full = true;
  const auto unrecorded = keeper.apply(add_tenant("acme"));
  ASSERT_FALSE(unrecorded.ok());
  EXPECT_EQ(unrecorded.error().code, ChangeError::Code::kNotRecorded);
  EXPECT_EQ(keeper.snapshot(), contract::Snapshot{});
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(KeeperTest, ADiskThatFailsIsSaidAndTheChangeHolds) {
  KeeperOptions broken = options();
  broken.path = folder_ + "/missing/snapshot.json";
  SnapshotKeeper keeper(broken, {});
  const auto done = keeper.apply(add_tenant("acme"));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ChangeError::Code::kNotPersisted);
  EXPECT_NE(keeper.directory()->find_tenant("acme"), nullptr);
}

TEST_F(KeeperTest, APriceVersionNeverChanges) {
  SnapshotKeeper keeper(options(), {});
  contract::Snapshot file;
  file.prices = {{.version = 1}};
  ASSERT_TRUE(keeper.apply_file(file).ok());
  file.prices[0].rates[0].nano_per_million = 5;
  const auto changed = keeper.apply_file(file);
  ASSERT_FALSE(changed.ok());
  EXPECT_THAT(changed.error().message, HasSubstr("a change of price is a new version"));
  file.prices = {{.version = 2}};
  EXPECT_TRUE(keeper.apply_file(file).ok());
}

// Usage lines name it: under another price their amounts would be wrong for ever.
TEST_F(KeeperTest, AVersionOfAPriceIsNotGivenTwice) {
  contract::Snapshot first;
  first.prices = {{.version = 1}};
  contract::Snapshot second;
  second.prices = {{.version = 2}};
  contract::Snapshot other = first;
  other.prices[0].rates[0].nano_per_million = 5;
  {
    SnapshotKeeper keeper(options(), {});
    ASSERT_TRUE(keeper.apply_file(first).ok());
    ASSERT_TRUE(keeper.apply_file(second).ok());
    EXPECT_THAT(keeper.apply_file(other).error().message,
                HasSubstr("version 1 has been in force and says something else"));
  }
  auto file = read_snapshot_file(path());
  ASSERT_TRUE(file.ok() && file->has_value());
  SnapshotKeeper later(options(), std::move(**file));
  EXPECT_FALSE(later.apply_file(other).ok());
  EXPECT_TRUE(later.apply_file(first).ok()) << "the same price may come back";
  EXPECT_TRUE(later.apply_file(second).ok());
  EXPECT_FALSE(later.apply_file(other).ok());
}

TEST_F(KeeperTest, OnlyTheGenerationInForceIsReplaced) {
  SnapshotKeeper keeper(options(), {});
  contract::Snapshot whole;
  whole.tenants = {{.id = "acme"}};
  EXPECT_EQ(keeper.replace("control", whole, 7).error().code, ChangeError::Code::kConflict);
  EXPECT_TRUE(keeper.replace("control", whole, 0).ok());
  EXPECT_EQ(keeper.snapshot().generation, 1);
  EXPECT_EQ(keeper.replace("control", whole, 0).error().code, ChangeError::Code::kConflict);
}

contract::Snapshot file_with(std::vector<std::string> tenants) {
  contract::Snapshot snapshot;
  for (std::string& id : tenants) snapshot.tenants.push_back({.id = std::move(id)});
  return snapshot;
}

TEST_F(KeeperTest, AReloadReplacesTheFilesObjectsAndKeepsTheApis) {
  SnapshotKeeper keeper(options(), {});
  ASSERT_TRUE(keeper.apply_file(file_with({"a", "b"})).ok());
  ASSERT_TRUE(keeper.apply(add_tenant("api")).ok());
  contract::Snapshot next = file_with({"b", "c"});
  next.tenants[0].name = "renamed";
  records_.changes.clear();
  ASSERT_TRUE(keeper.apply_file(next).ok());
  std::vector<std::string> ids;
  for (const auto& tenant : keeper.snapshot().tenants) ids.push_back(tenant.id + tenant.name);
  EXPECT_THAT(ids, ElementsAre("brenamed", "api", "c"));
  EXPECT_THAT(records_.changes,
              ElementsAre(Field(&contract::ChangeRecord::action, "tenants.delete"),
                          Field(&contract::ChangeRecord::action, "tenants.update"),
                          Field(&contract::ChangeRecord::action, "tenants.create")));
  EXPECT_TRUE(keeper.owned_by_file(ObjectKind::kTenant, "c"));
  EXPECT_FALSE(keeper.owned_by_file(ObjectKind::kTenant, "api"));
  const int64_t generation = keeper.snapshot().generation;
  EXPECT_TRUE(keeper.apply_file(next).ok());
  EXPECT_EQ(keeper.snapshot().generation, generation) << "the same file again changes nothing";

  const auto taken = keeper.apply_file(file_with({"api"}));
  ASSERT_FALSE(taken.ok());
  EXPECT_THAT(taken.error().message, HasSubstr("was made through the API"));
  EXPECT_EQ(keeper.snapshot().generation, generation);
}

TEST_F(KeeperTest, OwnershipAndGenerationOutliveTheProcess) {
  {
    SnapshotKeeper keeper(options(), {});
    ASSERT_TRUE(keeper.apply_file(file_with({"a"})).ok());
  }
  SnapshotKeeper keeper(options(), std::move(*read_snapshot_file(path()).value()));
  EXPECT_EQ(keeper.snapshot().generation, 1);
  ASSERT_TRUE(keeper.apply_file(file_with({})).ok());
  EXPECT_TRUE(keeper.snapshot().tenants.empty());
}

TEST_F(KeeperTest, AKeyThatWasRevokedStaysRevokedWhateverTheFileSays) {
  SnapshotKeeper keeper(options(), {});
  contract::Snapshot file = file_with({"a"});
  file.projects = {{.id = "p", .tenant = "a"}};
  file.keys = {{.id = "key_1", .project = "p", .hash = std::string(64, 'a'), .hash_key_id = "h"}};
  ASSERT_TRUE(keeper.apply_file(file).ok());
  ASSERT_TRUE(keeper
                  .apply({"key_admin", "keys.revoke", ObjectKind::kKey, "key_1",
                          [](contract::Snapshot* s) -> core::Result<void, ChangeError> {
                            s->keys[0].revoked = true;
                            return {};
                          }})
                  .ok());
  file.keys[0].labels = {{"team", "red"}};
  ASSERT_TRUE(keeper.apply_file(file).ok());
  EXPECT_TRUE(keeper.snapshot().keys[0].revoked);
  EXPECT_EQ(keeper.snapshot().keys[0].labels.at("team"), "red");
}

TEST_F(KeeperTest, AStoreThatIsAwayDoesNotHoldAChangeUp) {
  KeeperOptions with_store = options();
  with_store.keep_also = [](const contract::Snapshot&) -> core::Result<void> {
    return core::invalid("no store");
  };
  SnapshotKeeper keeper(with_store, {});
  EXPECT_TRUE(keeper.apply(add_tenant("acme")).ok());
}

TEST_F(KeeperTest, ABrokenSnapshotFileIsNamedWithItsFault) {
  std::ofstream(path()) << R"({"format":1,"file_owned":[],"snapshot":{"tenants":[{"idd":"x"}]}})";
  const auto read = read_snapshot_file(path());
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, HasSubstr("snapshot.tenants[0].idd: unknown"));
  EXPECT_THAT(read.error().message, HasSubstr(path()));
}

TEST_F(KeeperTest, RandomSnapshotsOutliveTheProcess) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    const SnapshotFile file{contract::RandomSnapshot(seed).make(), {"tenant/a", "price/1"}};
    ASSERT_TRUE(write_snapshot_file(path(), file).ok());
    const auto back = read_snapshot_file(path());
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ((*back)->snapshot, file.snapshot);
    EXPECT_EQ((*back)->file_owned, file.file_owned);
  }
}

}  // namespace
}  // namespace sluice::gateway
