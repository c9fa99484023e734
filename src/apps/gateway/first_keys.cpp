#include "apps/gateway/first_keys.h"

#include <filesystem>
#include <fstream>

#include "apps/gateway/gateway_secrets.h"
#include "gateway/admin/admin_api.h"
#include "gateway/admin/snapshot_file.h"

namespace sluice::apps {
namespace {

bool is_good(const std::string& secret, const gateway::SnapshotKeeper& keeper,
             gateway::KeyHasher& hasher, const core::Clock& clock) {
  const auto directory = keeper.directory();
  const gateway::KeyEntry* key = directory->find_key(secret, hasher);
  return key != nullptr && !key->key->revoked && !key->expired(clock.unix_ns() / 1'000'000'000);
}

core::Error failed(const gateway::ChangeError& error) {
  return core::invalid("the first keys: {}", error.message);
}

}  // namespace

core::Result<FirstKeys> provide_first_keys(const std::string& data_folder,
                                           gateway::SnapshotKeeper& keeper,
                                           gateway::KeyHasher& hasher, const core::Clock& clock) {
  FirstKeys keys;
  keys.path = (std::filesystem::path(data_folder) / "api_key").string();
  const auto guest = gateway::make_guest_key(keeper, clock, hasher, fill_with_random_bytes);
  if (!guest.ok()) return failed(guest.error());
  keys.guests = !keeper.directory()->key_by_id(gateway::kGuestKeyId)->key->revoked;
  std::string secret;
  if (std::ifstream(keys.path) >> secret && is_good(secret, keeper, hasher, clock)) return keys;
  auto made = gateway::make_default_key(keeper, clock, hasher, fill_with_random_bytes);
  if (!made.ok()) return failed(made.error());
  keys.new_secret = std::move(made).value();
  TRY(gateway::write_file_atomically(keys.path, keys.new_secret + "\n"));
  return keys;
}

}  // namespace sluice::apps
