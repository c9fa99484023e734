// A snapshot made fast to look up: immutable, shared by all threads, one shared_ptr a thread. Every
// reference is a pointer into the same Directory and lives as long as it does. A look-up allocates
// nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "contract/network.h"
#include "contract/snapshot.h"
#include "gateway/directory/key_hash.h"

namespace sluice::gateway {

struct PoolEntry {
  const contract::Pool* pool = nullptr;
  int32_t index = 0;  // of Directory::pools()
};

struct ModelEntry;

struct ReplicaEntry {
  const contract::Replica* replica = nullptr;
  const PoolEntry* pool = nullptr;
  const ModelEntry* model = nullptr;
  int32_t index = 0;             // of Directory::replicas()
  bool is_sold_by_time = false;  // a price of it has a rate for compute
};

struct ModelEntry {
  const contract::Model* model = nullptr;
  int32_t index = 0;                          // of Directory::models()
  std::vector<const ReplicaEntry*> replicas;  // those of one pool side by side
  std::vector<const ModelEntry*> fallbacks;   // in order
  bool continues_by_text = false;             // one of the replicas does
};

struct TenantEntry {
  const contract::Tenant* tenant = nullptr;
  int32_t index = 0;
  // What engines keep its prefixes apart with: no tenant sees another's cache, by timing or by
  // cached_tokens.
  std::string cache_salt = {};
  uint64_t salt_number = 0;  // contract::salt_number(cache_salt)
};

struct ProjectEntry {
  const contract::Project* project = nullptr;
  const TenantEntry* tenant = nullptr;
  int32_t index = 0;
};

struct KeyEntry {
  const contract::Key* key = nullptr;
  const ProjectEntry* project = nullptr;
  int32_t index = 0;
  KeyDigest digest;
  std::vector<contract::Network> networks;  // empty: from everywhere
  std::vector<const ModelEntry*> models;    // sorted by address; see may_use_model()
  bool any_model = true;

  const TenantEntry& tenant() const { return *project->tenant; }
  bool expired(int64_t unix_s) const {
    return key->expires_unix_s != 0 && key->expires_unix_s <= unix_s;
  }
  bool allows_address(std::string_view remote_address) const;  // "127.0.0.1", "::1"
  bool may_use_model(const ModelEntry& model) const;
};

// What holds for a request that says nothing itself: the key's, else the model's, else defaults.
struct EffectiveDefaults {
  contract::Target target;  // limits of 0: nothing is promised
  contract::Policy policy = contract::Policy::kLocalFirst;
  contract::DataClass data_class = contract::DataClass::kInternal;
  int32_t priority = 0;
};
EffectiveDefaults effective_defaults(const contract::Key& key, const contract::Model& model);

class Directory {
 public:
  // `snapshot` has passed contract::validate() (ASSERTs on references to nothing). Keys whose
  // hash_key_id is none of `hash_key_ids` (KeyHasher's order) cannot be found by secret.
  static std::shared_ptr<const Directory> compile(contract::Snapshot snapshot,
                                                  std::span<const std::string> hash_key_ids);
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const contract::Snapshot& snapshot() const { return snapshot_; }
  int64_t generation() const { return snapshot_.generation; }

  // The key of this secret, also one that is revoked or expired: the caller looks. null: none.
  const KeyEntry* find_key(std::string_view secret, KeyHasher& hasher) const;
  // By digest under the hash key at `hash_key_index`.
  const KeyEntry* find_key(const KeyDigest& digest, size_t hash_key_index) const;
  // By id; null: none.
  const KeyEntry* key_by_id(std::string_view id) const;
  const ModelEntry* find_model(std::string_view id) const;
  const ReplicaEntry* find_replica(std::string_view id) const;
  const TenantEntry* find_tenant(std::string_view id) const;
  const ProjectEntry* find_project(std::string_view id) const;
  const PoolEntry* find_pool(std::string_view id) const;

  // The price in force at that time; null: none matches.
  const contract::Price* price(const ModelEntry& model, const PoolEntry& pool,
                               contract::PriceSide side, int64_t unix_s) const;

  std::span<const TenantEntry> tenants() const { return tenants_; }
  std::span<const ProjectEntry> projects() const { return projects_; }
  std::span<const KeyEntry> keys() const { return keys_; }
  std::span<const PoolEntry> pools() const { return pools_; }
  std::span<const ReplicaEntry> replicas() const { return replicas_; }
  std::span<const ModelEntry> models() const { return models_; }

 private:
  template <typename Entry>
  using ById = std::unordered_map<std::string_view, const Entry*>;

  explicit Directory(contract::Snapshot snapshot) : snapshot_(std::move(snapshot)) {}
  void compile_people();
  void compile_places();
  void compile_keys(std::span<const std::string> hash_key_ids);
  void compile_prices();
  size_t price_list(const ModelEntry& model, const PoolEntry& pool, contract::PriceSide side) const;

  const contract::Snapshot snapshot_;
  std::vector<TenantEntry> tenants_;
  std::vector<ProjectEntry> projects_;
  std::vector<KeyEntry> keys_;
  std::vector<PoolEntry> pools_;
  std::vector<ReplicaEntry> replicas_;
  std::vector<ModelEntry> models_;
  ById<TenantEntry> tenant_by_id_;
  ById<ProjectEntry> project_by_id_;
  ById<KeyEntry> key_by_id_;
  ById<PoolEntry> pool_by_id_;
  ById<ReplicaEntry> replica_by_id_;
  ById<ModelEntry> model_by_id_;

  // Open addressing, a power of two slots, at most half full. A digest is uniform already: its
  // first bytes are the hash.
  struct KeySlot {
    const KeyEntry* entry = nullptr;
    int32_t hash_key_index = 0;
  };
  std::vector<KeySlot> key_slots_;

  // For each (model, pool, side) the prices that match, the most particular and latest first.
  std::vector<const contract::Price*> price_rows_;
  std::vector<uint32_t> price_begin_;
};

// What a request uses at most.
struct MostUse {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t compute_us = 0;
};
// What that may come to at a price (null: nothing), whatever of the prompt is cached and of the
// output reasoning.
contract::NanoMoney amount_at_most(const contract::Price* price, const MostUse& use);

}  // namespace sluice::gateway
