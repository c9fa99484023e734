// One call of the admin API while it is answered. Internal to this folder.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "contract/value.h"
#include "gateway/admin/admin_api.h"
#include "gateway/admin/query_worker.h"
#include "gateway/admin/watchers.h"

namespace sluice::gateway {

struct AdminContext {
  explicit AdminContext(AdminOptions given)
      : options(std::move(given)),
        hasher(options.hash_keys),
        watchers(options.loop, options.keeper) {}

  AdminOptions options;
  KeyHasher hasher;
  Watchers watchers;
  // Of this process, by their ids, until the store is known to have them.
  std::map<std::string, contract::BalanceChange, std::less<>> balance_changes;
  std::deque<std::string> balance_change_ids;  // of them, oldest first
  // Emptied with the API: an answer that comes later from the worker finds nobody.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  QueryWorker worker;  // last: its thread ends first
};

struct AdminCall {
  const net::Request& request;  // until the handler returns
  net::Responder responder;
  contract::ObjectKind kind = contract::ObjectKind::kSnapshot;
  std::string id = {};          // of the path; decoded
  std::string actor_id = {};    // the key's id
  std::string own_tenant = {};  // of a key that is no administrator's; "" of one that is
};

using AdminHandler = void (*)(AdminContext&, AdminCall&);

// ---- answers ----------------------------------------------------------------------------------

struct AdminError {
  int status = 400;
  std::string_view code;
  std::string message;
  contract::Problems problems = {};
  std::string allow = {};  // of a 405
};
net::Response to_response(const AdminError& error);
void reply(const AdminCall& call, const AdminError& error);
void reply(const AdminCall& call, const ChangeError& error);
void reply_json(const net::Responder& responder, int status, std::string_view body,
                std::string_view etag = "");

// ---- reading ----------------------------------------------------------------------------------

// The body, an object. Answers the call itself where it is none, and returns nullopt.
std::optional<contract::Value> read_body(const AdminCall& call);
// Takes the member `name` out of the object; nullopt where there is none.
std::optional<contract::Value> take_member(contract::Value* object, std::string_view name);
// An integer parameter of the query within its bounds; answers and returns nullopt otherwise.
struct IntegerParameter {
  std::string_view name;
  int64_t otherwise = 0;
  int64_t min = 0;
  int64_t max = 0;
};
std::optional<int64_t> read_parameter(const AdminCall& call, const IntegerParameter& parameter);
std::string text_parameter(const AdminCall& call, std::string_view name);

// The version of an object: of its canonical text.
std::string etag_of(std::string_view canonical_json);
// If-Match, or "etag" in a body, names another version than this one: answers 409, true.
bool refuses_version(const AdminCall& call, std::string_view etag,
                     const std::optional<contract::Value>& body_etag = std::nullopt);

// ---- handlers, one group a file ---------------------------------------------------------------

// Any collection of the snapshot (admin_collections.cpp).
void list_objects(AdminContext& context, AdminCall& call);
void create_object(AdminContext& context, AdminCall& call);
void get_object(AdminContext& context, AdminCall& call);
void update_object(AdminContext& context, AdminCall& call);
void delete_object(AdminContext& context, AdminCall& call);

// Keys have secrets (admin_keys.cpp).
void create_key(AdminContext& context, AdminCall& call);
void update_key(AdminContext& context, AdminCall& call);
void rotate_key(AdminContext& context, AdminCall& call);
void revoke_key(AdminContext& context, AdminCall& call);

// Snapshot, changes, money, usage (admin_reports.cpp).
void get_snapshot(AdminContext& context, AdminCall& call);
void put_snapshot(AdminContext& context, AdminCall& call);
void list_changes(AdminContext& context, AdminCall& call);
void list_usage(AdminContext& context, AdminCall& call);
void list_balances(AdminContext& context, AdminCall& call);
void get_balance(AdminContext& context, AdminCall& call);
void create_top_up(AdminContext& context, AdminCall& call);
void create_adjustment(AdminContext& context, AdminCall& call);

// Shared by admin_collections.cpp and admin_keys.cpp: `document` over the object of the path.
void update_with(AdminContext& context, AdminCall& call, contract::Value document);

}  // namespace sluice::gateway
