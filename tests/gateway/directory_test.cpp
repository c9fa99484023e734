#include "gateway/directory/directory.h"

#include <gtest/gtest.h>

#include "tests/contract/random_snapshot.h"

namespace sluice::gateway {
namespace {

using contract::PriceSide;

const std::vector<HashKey> kHashKeys = {{"new", std::string(32, 'n')},
                                        {"old", std::string(32, 'o')}};
const std::vector<std::string> kHashKeyIds = {"new", "old"};

contract::Key key_with(KeyHasher& hasher, std::string id, std::string_view secret, size_t which) {
  contract::Key key{.id = std::move(id), .project = "web"};
  key.hash = to_hex(hasher.digest(which, secret));
  key.hash_key_id = hasher.id(which);
  return key;
}

contract::Snapshot small() {
  contract::Snapshot s;
  s.tenants = {{.id = "acme"}};
  s.projects = {{.id = "web", .tenant = "acme"}};
  s.pools = {{.id = "here"}, {.id = "there"}};
  s.models = {{.id = "m"}, {.id = "n", .fallbacks = {"m"}}};
  s.replicas = {{.id = "r1", .pool = "there", .model = "m", .url = "http://a"},
                {.id = "r2", .pool = "here", .model = "m", .url = "http://b"},
                {.id = "r3", .pool = "here", .model = "n", .url = "http://c"}};
  return s;
}

TEST(Directory, FindsKeysOfEveryHashKeyAndNothingElse) {
  KeyHasher hasher(kHashKeys);
  contract::Snapshot snapshot = small();
  for (int i = 0; i < 500; ++i)
    snapshot.keys.push_back(key_with(hasher, fmt::format("key_{}", i), fmt::format("secret {}", i),
                                     static_cast<size_t>(i % 2)));
  snapshot.keys.push_back(key_with(hasher, "key_lost", "lost", 0));
  snapshot.keys.back().hash_key_id = "gone";
  const auto directory = Directory::compile(snapshot, kHashKeyIds);
  for (int i = 0; i < 500; ++i) {
    const KeyEntry* key = directory->find_key(fmt::format("secret {}", i), hasher);
    ASSERT_NE(key, nullptr) << i;
    EXPECT_EQ(key->key->id, fmt::format("key_{}", i));
    EXPECT_EQ(key->tenant().tenant->id, "acme");
    EXPECT_EQ(directory->find_key(fmt::format("secret {}x", i), hasher), nullptr);
  }
  EXPECT_EQ(directory->find_key("lost", hasher), nullptr) << "made with a hash key that is gone";
  EXPECT_EQ(directory->key_by_id("key_lost")->key->id, "key_lost");
  // The right digest under the wrong hash key is nobody's.
  EXPECT_EQ(directory->find_key(hasher.digest(0, "secret 0"), 1), nullptr);
}

TEST(Directory, ModelsKnowTheirReplicasByPoolAndTheirFallbacks) {
  const auto directory = Directory::compile(small(), kHashKeyIds);
  const ModelEntry* m = directory->find_model("m");
  ASSERT_EQ(m->replicas.size(), 2u);
  EXPECT_EQ(m->replicas[0]->replica->id, "r2") << "those of the first pool first";
  EXPECT_EQ(m->replicas[1]->pool->pool->id, "there");
  EXPECT_EQ(directory->find_model("n")->fallbacks, std::vector<const ModelEntry*>{m});
  EXPECT_EQ(directory->find_replica("r3")->model, directory->find_model("n"));
  EXPECT_EQ(directory->find_model("x"), nullptr);
}

TEST(Directory, KeysAreBoundToModelsAndNetworks) {
  KeyHasher hasher(kHashKeys);
  contract::Snapshot snapshot = small();
  snapshot.keys = {key_with(hasher, "key_a", "a", 0), key_with(hasher, "key_b", "b", 0)};
  snapshot.keys[0].models = {"n"};
  snapshot.keys[0].networks = {"10.0.0.0/8", "::1"};
  snapshot.keys[0].expires_unix_s = 100;
  const auto directory = Directory::compile(snapshot, kHashKeyIds);
  const KeyEntry& bound = *directory->key_by_id("key_a");
  EXPECT_FALSE(bound.may_use_model(*directory->find_model("m")));
  EXPECT_TRUE(bound.may_use_model(*directory->find_model("n")));
  EXPECT_TRUE(bound.allows_address("10.9.8.7"));
  EXPECT_TRUE(bound.allows_address("::1"));
  EXPECT_FALSE(bound.allows_address("127.0.0.1"));
  EXPECT_FALSE(bound.allows_address("nonsense"));
  EXPECT_FALSE(bound.expired(99));
  EXPECT_TRUE(bound.expired(100));
  const KeyEntry& free = *directory->key_by_id("key_b");
  EXPECT_TRUE(free.may_use_model(*directory->find_model("m")));
  EXPECT_TRUE(free.allows_address("8.8.8.8"));
  EXPECT_FALSE(free.expired(INT64_MAX));
}

// What contract/snapshot.h says of a price, said the slow way.
const contract::Price* expected_price(const contract::Snapshot& snapshot, const std::string& model,
                                      const std::string& pool, PriceSide side, int64_t unix_s) {
  const contract::Price* best = nullptr;
  const auto rank = [](const contract::Price& p) {
    return std::tuple(!p.model.empty(), !p.pool.empty(), p.valid_from_unix_s);
  };
  for (const contract::Price& price : snapshot.prices) {
    if (price.side != side || price.valid_from_unix_s > unix_s) continue;
    if (!price.model.empty() && price.model != model) continue;
    if (!price.pool.empty() && price.pool != pool) continue;
    if (best == nullptr || rank(price) > rank(*best)) best = &price;
  }
  return best;
}

TEST(Directory, PricesAreTheMostParticularThenTheLatest) {
  int found = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const auto directory = Directory::compile(contract::RandomSnapshot(seed).make(), kHashKeyIds);
    for (const ModelEntry& model : directory->models())
      for (const PoolEntry& pool : directory->pools())
        for (const PriceSide side : {PriceSide::kSale, PriceSide::kCost})
          for (int64_t unix_s = -1; unix_s < 7; ++unix_s) {
            const contract::Price* price = directory->price(model, pool, side, unix_s);
            EXPECT_EQ(price, expected_price(directory->snapshot(), model.model->id, pool.pool->id,
                                            side, unix_s));
            found += price != nullptr;
          }
  }
  EXPECT_GT(found, 1000);
}

TEST(EffectiveDefaults, AreTheKeysThenTheModelsThenThePlatforms) {
  contract::Key key;
  contract::Model model;
  EXPECT_EQ(effective_defaults(key, model).policy, contract::Policy::kLocalFirst);
  model.defaults.policy = contract::Policy::kCheapest;
  model.defaults.priority = 2;
  key.defaults.priority = -1;
  const EffectiveDefaults both = effective_defaults(key, model);
  EXPECT_EQ(both.policy, contract::Policy::kCheapest);
  EXPECT_EQ(both.priority, -1);
  EXPECT_EQ(both.data_class, contract::DataClass::kInternal);
}

}  // namespace
}  // namespace sluice::gateway
