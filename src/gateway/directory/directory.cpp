#include "gateway/directory/directory.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "contract/block_hash.h"
#include "core/assert.h"
#include "core/hex.h"

namespace sluice::gateway {
namespace {

uint64_t hash_of(const KeyDigest& digest) {
  uint64_t hash;
  std::memcpy(&hash, digest.bytes.data(), sizeof(hash));
  return hash;
}

template <typename Map>
auto* find(const Map& map, std::string_view id) {
  const auto found = map.find(id);
  return found == map.end() ? nullptr : found->second;
}

template <typename Map>
auto* require(const Map& map, std::string_view id) {
  auto* found = find(map, id);
  ASSERT(found != nullptr, "a snapshot that was not validated: nothing has the id '{}'", id);
  return found;
}

// (model, pool), (model, any), (any, pool), (any, any).
int particularity(const contract::Price& price) {
  return (price.model.empty() ? 0 : 2) + (price.pool.empty() ? 0 : 1);
}

bool matches(const contract::Price& price, const ModelEntry& model, const PoolEntry& pool) {
  return (price.model.empty() || price.model == model.model->id) &&
         (price.pool.empty() || price.pool == pool.pool->id);
}

bool has_compute_rate(const contract::Price* price) {
  return price->rates[static_cast<size_t>(contract::Unit::kComputeMicrosecond)].nano_per_million >
         0;
}

}  // namespace

bool KeyEntry::allows_address(std::string_view remote_address) const {
  if (networks.empty()) return true;
  const auto address = contract::parse_ip_address(remote_address);
  return address && std::any_of(networks.begin(), networks.end(),
                                [&](const auto& network) { return network.contains(*address); });
}

bool KeyEntry::may_use_model(const ModelEntry& model) const {
  return any_model || std::binary_search(models.begin(), models.end(), &model, std::less<>());
}

EffectiveDefaults effective_defaults(const contract::Key& key, const contract::Model& model) {
  const contract::RequestDefaults& first = key.defaults;
  const contract::RequestDefaults& second = model.defaults;
  EffectiveDefaults result;
  const auto choose = [](const auto& mine, const auto& its, auto* chosen) {
    if (mine)
      *chosen = *mine;
    else if (its)
      *chosen = *its;
  };
  choose(first.target, second.target, &result.target);
  choose(first.policy, second.policy, &result.policy);
  choose(first.data_class, second.data_class, &result.data_class);
  choose(first.priority, second.priority, &result.priority);
  return result;
}

std::shared_ptr<const Directory> Directory::compile(contract::Snapshot snapshot,
                                                    std::span<const std::string> hash_key_ids) {
  std::shared_ptr<Directory> directory(new Directory(std::move(snapshot)));
  directory->compile_people();
  directory->compile_places();
  directory->compile_keys(hash_key_ids);
  directory->compile_prices();
  return directory;
}

void Directory::compile_people() {
  tenants_.reserve(snapshot_.tenants.size());
  for (const contract::Tenant& tenant : snapshot_.tenants) {
    TenantEntry& entry = tenants_.emplace_back();
    entry.tenant = &tenant;
    entry.index = static_cast<int32_t>(tenants_.size() - 1);
    core::append_hex(contract::model_namespace(tenant.id, 0), &entry.cache_salt);
    entry.salt_number = contract::salt_number(entry.cache_salt);
    tenant_by_id_.emplace(tenant.id, &tenants_.back());
  }
  projects_.reserve(snapshot_.projects.size());
  for (const contract::Project& project : snapshot_.projects) {
    projects_.push_back(
        {&project, require(tenant_by_id_, project.tenant), static_cast<int32_t>(projects_.size())});
    project_by_id_.emplace(project.id, &projects_.back());
  }
}

void Directory::compile_places() {
  pools_.reserve(snapshot_.pools.size());
  for (const contract::Pool& pool : snapshot_.pools) {
    pools_.push_back({&pool, static_cast<int32_t>(pools_.size())});
    pool_by_id_.emplace(pool.id, &pools_.back());
  }
  models_.reserve(snapshot_.models.size());
  for (const contract::Model& model : snapshot_.models) {
    ModelEntry& entry = models_.emplace_back();
    entry.model = &model;
    entry.index = static_cast<int32_t>(models_.size() - 1);
    model_by_id_.emplace(model.id, &entry);
  }
  for (ModelEntry& entry : models_)
    for (const std::string& fallback : entry.model->fallbacks)
      entry.fallbacks.push_back(require(model_by_id_, fallback));
  replicas_.reserve(snapshot_.replicas.size());
  for (const contract::Replica& replica : snapshot_.replicas) {
    const ModelEntry* model = require(model_by_id_, replica.model);
    replicas_.push_back({&replica, require(pool_by_id_, replica.pool), model,
                         static_cast<int32_t>(replicas_.size())});
    replica_by_id_.emplace(replica.id, &replicas_.back());
    ModelEntry& entry = models_[static_cast<size_t>(model->index)];
    entry.replicas.push_back(&replicas_.back());
    entry.continues_by_text |= replica.continuation != contract::Continuation::kNone;
  }
  for (ModelEntry& entry : models_)
    std::stable_sort(entry.replicas.begin(), entry.replicas.end(),
                     [](auto* a, auto* b) { return a->pool->index < b->pool->index; });
}

void Directory::compile_keys(std::span<const std::string> hash_key_ids) {
  keys_.reserve(snapshot_.keys.size());
  key_by_id_.reserve(snapshot_.keys.size());
  key_slots_.resize(std::bit_ceil(2 * snapshot_.keys.size() + 1));
  for (const contract::Key& key : snapshot_.keys) {
    KeyEntry& entry = keys_.emplace_back();
    entry.key = &key;
    entry.project = require(project_by_id_, key.project);
    entry.index = static_cast<int32_t>(keys_.size() - 1);
    entry.digest = digest_from_hex(key.hash).value();
    for (const std::string& network : key.networks)
      entry.networks.push_back(contract::parse_network(network).value());
    for (const std::string& model : key.models)
      entry.models.push_back(require(model_by_id_, model));
    std::sort(entry.models.begin(), entry.models.end(), std::less<>());
    entry.any_model = key.models.empty();
    key_by_id_.emplace(key.id, &entry);

    const auto hash_key = std::find(hash_key_ids.begin(), hash_key_ids.end(), key.hash_key_id);
    if (hash_key == hash_key_ids.end()) continue;
    size_t slot = hash_of(entry.digest) & (key_slots_.size() - 1);
    while (key_slots_[slot].entry != nullptr) slot = (slot + 1) & (key_slots_.size() - 1);
    key_slots_[slot] = {&entry, static_cast<int32_t>(hash_key - hash_key_ids.begin())};
  }
}

void Directory::compile_prices() {
  using contract::PriceSide;
  for (const ModelEntry& model : models_)
    for (const PoolEntry& pool : pools_)
      for (const PriceSide side : {PriceSide::kSale, PriceSide::kCost}) {
        price_begin_.push_back(static_cast<uint32_t>(price_rows_.size()));
        ASSERT(price_list(model, pool, side) + 1 == price_begin_.size(), "lists are made in order");
        for (const contract::Price& price : snapshot_.prices)
          if (price.side == side && matches(price, model, pool)) price_rows_.push_back(&price);
        std::sort(price_rows_.begin() + price_begin_.back(), price_rows_.end(),
                  [](auto* a, auto* b) {
                    return std::pair(particularity(*a), a->valid_from_unix_s) >
                           std::pair(particularity(*b), b->valid_from_unix_s);
                  });
      }
  price_begin_.push_back(static_cast<uint32_t>(price_rows_.size()));
  for (ReplicaEntry& replica : replicas_)
    for (const PriceSide side : {PriceSide::kSale, PriceSide::kCost}) {
      const size_t list = price_list(*replica.model, *replica.pool, side);
      replica.is_sold_by_time |=
          std::any_of(price_rows_.begin() + price_begin_[list],
                      price_rows_.begin() + price_begin_[list + 1], has_compute_rate);
    }
}

size_t Directory::price_list(const ModelEntry& model, const PoolEntry& pool,
                             contract::PriceSide side) const {
  const size_t cell =
      static_cast<size_t>(model.index) * pools_.size() + static_cast<size_t>(pool.index);
  return 2 * cell + static_cast<size_t>(side);
}

const contract::Price* Directory::price(const ModelEntry& model, const PoolEntry& pool,
                                        contract::PriceSide side, int64_t unix_s) const {
  const size_t list = price_list(model, pool, side);
  for (size_t row = price_begin_[list]; row < price_begin_[list + 1]; ++row)
    if (price_rows_[row]->valid_from_unix_s <= unix_s) return price_rows_[row];
  return nullptr;
}

const KeyEntry* Directory::find_key(std::string_view secret, KeyHasher& hasher) const {
  for (size_t index = 0; index < hasher.size(); ++index)
    if (const KeyEntry* found = find_key(hasher.digest(index, secret), index)) return found;
  return nullptr;
}

const KeyEntry* Directory::find_key(const KeyDigest& digest, size_t hash_key_index) const {
  size_t slot = hash_of(digest) & (key_slots_.size() - 1);
  for (; key_slots_[slot].entry != nullptr; slot = (slot + 1) & (key_slots_.size() - 1)) {
    const KeySlot& found = key_slots_[slot];
    if (found.hash_key_index == static_cast<int32_t>(hash_key_index) &&
        found.entry->digest == digest)
      return found.entry;
  }
  return nullptr;
}

const KeyEntry* Directory::key_by_id(std::string_view id) const {
  return find(key_by_id_, id);
}
const ModelEntry* Directory::find_model(std::string_view id) const {
  return find(model_by_id_, id);
}
const ReplicaEntry* Directory::find_replica(std::string_view id) const {
  return find(replica_by_id_, id);
}
const TenantEntry* Directory::find_tenant(std::string_view id) const {
  return find(tenant_by_id_, id);
}
const ProjectEntry* Directory::find_project(std::string_view id) const {
  return find(project_by_id_, id);
}
const PoolEntry* Directory::find_pool(std::string_view id) const {
  return find(pool_by_id_, id);
}

contract::NanoMoney amount_at_most(const contract::Price* price, const MostUse& use) {
  using contract::Unit;
  if (price == nullptr) return {};
  const auto rate = [&](Unit unit) { return price->rates[static_cast<size_t>(unit)]; };
  return contract::amount_of(use.prompt_tokens,
                             std::max(rate(Unit::kPromptToken), rate(Unit::kCachedPromptToken))) +
         contract::amount_of(use.output_tokens,
                             std::max(rate(Unit::kOutputToken), rate(Unit::kReasoningToken))) +
         contract::amount_of(use.compute_us, rate(Unit::kComputeMicrosecond));
}

}  // namespace sluice::gateway
