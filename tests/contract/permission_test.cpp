#include "contract/permission.h"

#include <gtest/gtest.h>

namespace sluice::contract {
namespace {

using Kind = Actor::Kind;

constexpr Kind kActors[] = {Kind::kCommandLine, Kind::kConfigFile, Kind::kAdminKey, Kind::kKey};
constexpr int kActions = 7;
constexpr int kObjects = 11;

TEST(Authorize, AKeyReadsItsOwnTenantsUsageAndBalanceAndNothingElse) {
  const Actor key = {.kind = Kind::kKey, .id = "key_1", .tenant = "acme"};
  for (int action = 0; action < kActions; ++action) {
    for (int object = 0; object < kObjects; ++object) {
      const auto kind = static_cast<ObjectKind>(object);
      const bool may = static_cast<Action>(action) == Action::kRead &&
                       (kind == ObjectKind::kUsage || kind == ObjectKind::kBalance);
      EXPECT_EQ(authorize(key, static_cast<Action>(action), kind, "acme"), may);
      EXPECT_FALSE(authorize(key, static_cast<Action>(action), kind, "other"));
    }
  }
  const Actor nobody = {.kind = Kind::kKey, .id = "", .tenant = ""};
  EXPECT_FALSE(authorize(nobody, Action::kRead, ObjectKind::kUsage, ""));
}

TEST(Authorize, NobodyWritesWhatHasHappened) {
  for (const Kind actor : kActors)
    for (const ObjectKind object : {ObjectKind::kUsage, ObjectKind::kChange})
      for (int action = 1; action < kActions; ++action)
        EXPECT_FALSE(authorize({.kind = actor, .id = "a", .tenant = "t"},
                               static_cast<Action>(action), object, "t"));
}

TEST(Authorize, AnAdministratorPutsMoneyInAFileDoesNot) {
  for (const Kind actor : kActors)
    EXPECT_EQ(authorize({.kind = actor, .id = "a", .tenant = "t"}, Action::kTopUp,
                        ObjectKind::kBalance, "t"),
              actor == Kind::kCommandLine || actor == Kind::kAdminKey);
}

TEST(Authorize, AdministratorsRunKeysOfEveryTenant) {
  for (const Action action :
       {Action::kRead, Action::kCreate, Action::kUpdate, Action::kRotate, Action::kRevoke})
    EXPECT_TRUE(authorize({.kind = Kind::kAdminKey, .id = "a", .tenant = "t"}, action,
                          ObjectKind::kKey, "other"));
}

TEST(MayUse, PrivateDataNeverLeavesLocalPoolsWhateverThePoolSays) {
  for (const Place place : {Place::kLocal, Place::kRemote})
    for (const DataClass data : {DataClass::kPublic, DataClass::kInternal, DataClass::kPrivate}) {
      Pool pool;
      pool.place = place;
      EXPECT_EQ(may_use("", data, Purpose::kInference, pool),
                place == Place::kLocal || data != DataClass::kPrivate);
    }
}

TEST(MayUse, APoolGetsTheClassesItIsListedForAndOnlyItsOwnerSeesThem) {
  Pool pool;
  pool.owner = "gpu-co";
  pool.data_classes = {DataClass::kPublic};
  EXPECT_TRUE(may_use("gpu-co", DataClass::kPublic, Purpose::kInference, pool));
  EXPECT_FALSE(may_use("gpu-co", DataClass::kInternal, Purpose::kInference, pool));
  EXPECT_FALSE(may_use("somebody", DataClass::kPublic, Purpose::kInference, pool));
}

}  // namespace
}  // namespace sluice::contract
