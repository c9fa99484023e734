// Keys: their secrets are made here, shown in the answer that makes them and nowhere else.
#include <fmt/format.h>

#include "api/json_writer.h"
#include "contract/snapshot_json.h"
#include "gateway/admin/admin_call.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::gateway {
namespace {

using contract::ObjectKind;

constexpr size_t kHintCharacters = 4;
constexpr size_t kIdRandomBytes = 8;
// Ids of the first tenants and of their projects.
constexpr std::string_view kAdmin = "admin";
constexpr std::string_view kDefault = "default";

// What the gateway says of a key, and nobody else.
constexpr std::string_view kOwnMembers[] = {"hash", "hash_key_id", "hint", "created_unix_s",
                                            "revoked"};

struct NewSecret {
  std::string text;
  std::string hash;
  std::string hash_key_id;
  std::string hint;
};

using Random = std::function<void(std::span<uint8_t>)>;

NewSecret new_secret(KeyHasher& hasher, const Random& random) {
  std::array<uint8_t, kSecretRandomBytes> bytes;
  random(bytes);
  NewSecret secret{.text = make_secret(bytes), .hash = "", .hash_key_id = "", .hint = ""};
  secret.hash = to_hex(hasher.digest(0, secret.text));
  secret.hash_key_id = hasher.id(0);
  secret.hint = secret.text.substr(secret.text.size() - kHintCharacters);
  return secret;
}

void set_secret(const NewSecret& secret, contract::Key* key) {
  key->hash = secret.hash;
  key->hash_key_id = secret.hash_key_id;
  key->hint = secret.hint;
}

std::string new_key_id(const Random& random) {
  std::array<uint8_t, kIdRandomBytes> bytes;
  random(bytes);
  std::string id = "key_";
  for (const uint8_t byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

int64_t unix_s(const core::Clock& clock) {
  return clock.unix_ns() / 1'000'000'000;
}

// By who starts the gateway. Nothing where there is one of this id.
template <typename List, typename Object>
core::Result<void, ChangeError> add_at_start(SnapshotKeeper& keeper, ObjectKind kind,
                                             List contract::Snapshot::*list, const Object& object) {
  constexpr contract::Actor kStarter = {
      .kind = contract::Actor::Kind::kCommandLine, .id = "command-line", .tenant = ""};
  if (find_object(keeper.snapshot().*list, object.id) != nullptr) return {};
  if (!contract::authorize(kStarter, contract::Action::kCreate, kind, ""))
    return ChangeError{ChangeError::Code::kInvalid,
                       fmt::format("the command line may not create a {}", kind_name(kind))};
  return keeper.apply({std::string(kStarter.id), fmt::format("{}.create", collection_name(kind)),
                       kind, object.id,
                       [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
                         (snapshot->*list).push_back(object);
                         return {};
                       }});
}

// The key, and its project and the tenant of the same id where they are missing.
core::Result<void, ChangeError> add_first(SnapshotKeeper& keeper, std::string_view tenant_name,
                                          const contract::Key& key) {
  const contract::Tenant tenant = {.id = key.project, .name = std::string(tenant_name)};
  const contract::Project project = {.id = key.project, .tenant = key.project};
  TRY(add_at_start(keeper, ObjectKind::kTenant, &contract::Snapshot::tenants, tenant));
  TRY(add_at_start(keeper, ObjectKind::kProject, &contract::Snapshot::projects, project));
  return add_at_start(keeper, ObjectKind::kKey, &contract::Snapshot::keys, key);
}

// {"key":{…},"secret":"sk-sluice-…"}
void reply_with_secret(const AdminCall& call, int status, const contract::Key& key,
                       const NewSecret& secret) {
  std::string body = "{\"key\":" + contract::to_json(key) + ",\"secret\":";
  api::append_json_string(&body, secret.text);
  reply_json(call.responder, status, body + "}", etag_of(contract::to_json(key)));
}

bool refuses_own_members(const AdminCall& call, const contract::Value& body) {
  for (const std::string_view name : kOwnMembers) {
    if (body.find(name) == nullptr) continue;
    reply(call, AdminError{400, "invalid", fmt::format("{}: is set by the gateway", name)});
    return true;
  }
  return false;
}

// The key of the path, changed by `change`; answers what went wrong and returns nullopt.
std::optional<contract::Key> change_key(AdminContext& context, AdminCall& call,
                                        std::string_view verb,
                                        const std::function<void(contract::Key*)>& change) {
  contract::Key changed;
  const auto done = context.options.keeper.apply(
      {call.actor_id, fmt::format("keys.{}", verb), ObjectKind::kKey, call.id,
       [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
         contract::Key* key = find_object(snapshot->keys, call.id);
         if (key == nullptr)
           return ChangeError{ChangeError::Code::kNotFound,
                              fmt::format("there is no key '{}'", call.id)};
         change(key);
         changed = *key;
         return {};
       }});
  if (done.ok()) return changed;
  reply(call, done.error());
  return std::nullopt;
}

}  // namespace

void create_key(AdminContext& context, AdminCall& call) {
  const auto body = read_body(call);
  if (!body || refuses_own_members(call, *body)) return;
  contract::Key key;
  key.id = new_key_id(context.options.random);
  contract::Problems problems;
  contract::read_into(*body, "", &key, &problems);
  if (!problems.empty())
    return reply(call, AdminError{400, "invalid", contract::to_text(problems), problems});
  const NewSecret secret = new_secret(context.hasher, context.options.random);
  set_secret(secret, &key);
  key.created_unix_s = unix_s(context.options.clock);
  const auto done = context.options.keeper.apply(
      {call.actor_id, "keys.create", ObjectKind::kKey, key.id,
       [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
         if (find_object(snapshot->keys, key.id) != nullptr)
           return ChangeError{ChangeError::Code::kExists, fmt::format("key '{}' exists", key.id)};
         snapshot->keys.push_back(key);
         return {};
       }});
  if (!done.ok()) return reply(call, done.error());
  reply_with_secret(call, 201, key, secret);
}

void update_key(AdminContext& context, AdminCall& call) {
  auto body = read_body(call);
  if (!body || refuses_own_members(call, *body)) return;
  update_with(context, call, std::move(*body));
}

void rotate_key(AdminContext& context, AdminCall& call) {
  if (context.options.keeper.owned_by_file(ObjectKind::kKey, call.id))
    return reply(call, AdminError{409, "owned_by_file",
                                  "the key's secret is named by the configuration file; change it "
                                  "there"});
  const auto* before = context.options.keeper.directory()->key_by_id(call.id);
  if (before != nullptr && before->key->revoked)
    return reply(call, AdminError{409, "revoked", "a revoked key stays revoked; create another"});
  const NewSecret secret = new_secret(context.hasher, context.options.random);
  const auto key = change_key(context, call, "rotate",
                              [&](contract::Key* changed) { set_secret(secret, changed); });
  if (key) reply_with_secret(call, 200, *key, secret);
}

void revoke_key(AdminContext& context, AdminCall& call) {
  const auto key =
      change_key(context, call, "revoke", [](contract::Key* changed) { changed->revoked = true; });
  if (!key) return;
  const std::string json = contract::to_json(*key);
  reply_json(call.responder, 200, json, etag_of(json));
}

core::Result<std::string, ChangeError> make_first_admin_key(SnapshotKeeper& keeper,
                                                            const core::Clock& clock,
                                                            KeyHasher& hasher,
                                                            const Random& random) {
  const contract::Snapshot& now = keeper.snapshot();
  if (std::any_of(now.keys.begin(), now.keys.end(),
                  [](const contract::Key& key) { return key.admin && !key.revoked; }))
    return std::string();
  const NewSecret secret = new_secret(hasher, random);
  contract::Key key{.id = new_key_id(random), .project = std::string(kAdmin)};
  set_secret(secret, &key);
  key.created_unix_s = unix_s(clock);
  key.admin = true;
  TRY(add_first(keeper, "administration", key));
  return secret.text;
}

core::Result<std::string, ChangeError> make_default_key(SnapshotKeeper& keeper,
                                                        const core::Clock& clock, KeyHasher& hasher,
                                                        const Random& random) {
  const NewSecret secret = new_secret(hasher, random);
  contract::Key key{.id = new_key_id(random), .project = std::string(kDefault)};
  set_secret(secret, &key);
  key.created_unix_s = unix_s(clock);
  TRY(add_first(keeper, "", key));
  return secret.text;
}

core::Result<void, ChangeError> make_guest_key(SnapshotKeeper& keeper, const core::Clock& clock,
                                               KeyHasher& hasher, const Random& random) {
  if (find_object(keeper.snapshot().keys, kGuestKeyId) != nullptr) return {};
  contract::Key key{.id = std::string(kGuestKeyId), .project = std::string(kDefault)};
  set_secret(new_secret(hasher, random), &key);
  key.hint.clear();
  key.created_unix_s = unix_s(clock);
  key.networks = {"127.0.0.0/8", "::1/128"};
  return add_first(keeper, "", key);
}

}  // namespace sluice::gateway
