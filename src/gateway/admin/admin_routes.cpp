#include <algorithm>

#include <fmt/format.h>

#include "gateway/admin/admin_call.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::gateway {
namespace {

using contract::Action;
using contract::Actor;
using contract::ObjectKind;
using net::Method;

constexpr std::string_view kPrefix = "/admin/v1/";
constexpr std::string_view kId = "{id}";

struct Route {
  Method method;
  std::string_view path;  // behind kPrefix
  Action action;
  ObjectKind kind;
  AdminHandler handler;
};

constexpr Route kRoutes[] = {
    {Method::kGet, "tenants", Action::kRead, ObjectKind::kTenant, list_objects},
    {Method::kPost, "tenants", Action::kCreate, ObjectKind::kTenant, create_object},
    {Method::kGet, "tenants/{id}", Action::kRead, ObjectKind::kTenant, get_object},
    {Method::kPatch, "tenants/{id}", Action::kUpdate, ObjectKind::kTenant, update_object},
    {Method::kDelete, "tenants/{id}", Action::kDelete, ObjectKind::kTenant, delete_object},

    {Method::kGet, "projects", Action::kRead, ObjectKind::kProject, list_objects},
    {Method::kPost, "projects", Action::kCreate, ObjectKind::kProject, create_object},
    {Method::kGet, "projects/{id}", Action::kRead, ObjectKind::kProject, get_object},
    {Method::kPatch, "projects/{id}", Action::kUpdate, ObjectKind::kProject, update_object},
    {Method::kDelete, "projects/{id}", Action::kDelete, ObjectKind::kProject, delete_object},

    // A key is revoked, never deleted: usage names it.
    {Method::kGet, "keys", Action::kRead, ObjectKind::kKey, list_objects},
    {Method::kPost, "keys", Action::kCreate, ObjectKind::kKey, create_key},
    {Method::kGet, "keys/{id}", Action::kRead, ObjectKind::kKey, get_object},
    {Method::kPatch, "keys/{id}", Action::kUpdate, ObjectKind::kKey, update_key},
    {Method::kPost, "keys/{id}/rotate", Action::kRotate, ObjectKind::kKey, rotate_key},
    {Method::kPost, "keys/{id}/revoke", Action::kRevoke, ObjectKind::kKey, revoke_key},

    {Method::kGet, "pools", Action::kRead, ObjectKind::kPool, list_objects},
    {Method::kPost, "pools", Action::kCreate, ObjectKind::kPool, create_object},
    {Method::kGet, "pools/{id}", Action::kRead, ObjectKind::kPool, get_object},
    {Method::kPatch, "pools/{id}", Action::kUpdate, ObjectKind::kPool, update_object},
    {Method::kDelete, "pools/{id}", Action::kDelete, ObjectKind::kPool, delete_object},

    {Method::kGet, "replicas", Action::kRead, ObjectKind::kReplica, list_objects},
    {Method::kPost, "replicas", Action::kCreate, ObjectKind::kReplica, create_object},
    {Method::kGet, "replicas/{id}", Action::kRead, ObjectKind::kReplica, get_object},
    {Method::kPatch, "replicas/{id}", Action::kUpdate, ObjectKind::kReplica, update_object},
    {Method::kDelete, "replicas/{id}", Action::kDelete, ObjectKind::kReplica, delete_object},

    {Method::kGet, "models", Action::kRead, ObjectKind::kModel, list_objects},
    {Method::kPost, "models", Action::kCreate, ObjectKind::kModel, create_object},
    {Method::kGet, "models/{id}", Action::kRead, ObjectKind::kModel, get_object},
    {Method::kPatch, "models/{id}", Action::kUpdate, ObjectKind::kModel, update_object},
    {Method::kDelete, "models/{id}", Action::kDelete, ObjectKind::kModel, delete_object},

    // A price is never changed: a new version takes its place.
    {Method::kGet, "prices", Action::kRead, ObjectKind::kPrice, list_objects},
    {Method::kPost, "prices", Action::kCreate, ObjectKind::kPrice, create_object},
    {Method::kGet, "prices/{id}", Action::kRead, ObjectKind::kPrice, get_object},
    {Method::kDelete, "prices/{id}", Action::kDelete, ObjectKind::kPrice, delete_object},

    {Method::kGet, "balances", Action::kRead, ObjectKind::kBalance, list_balances},
    {Method::kGet, "balances/{id}", Action::kRead, ObjectKind::kBalance, get_balance},
    {Method::kPost, "balances/{id}/top-ups", Action::kTopUp, ObjectKind::kBalance, create_top_up},
    {Method::kPost, "balances/{id}/adjustments", Action::kUpdate, ObjectKind::kBalance,
     create_adjustment},

    {Method::kGet, "usage", Action::kRead, ObjectKind::kUsage, list_usage},
    {Method::kGet, "changes", Action::kRead, ObjectKind::kChange, list_changes},
    {Method::kGet, "snapshot", Action::kRead, ObjectKind::kSnapshot, get_snapshot},
    {Method::kPut, "snapshot", Action::kUpdate, ObjectKind::kSnapshot, put_snapshot},
};

// What anybody who reaches the listener may read.
constexpr std::string_view kOpenApiPath = "/admin/v1/openapi.json";
constexpr std::string_view kMetricsPath = "/metrics";
constexpr std::string_view kHealthPath = "/healthz";

// The segment of `path` in the place of {id}; nullopt: another path.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const size_t at = pattern.find(kId);
  if (at == std::string_view::npos)
    return pattern == path ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = pattern.substr(0, at);
  const std::string_view behind = pattern.substr(at + kId.size());
  if (path.size() <= before.size() + behind.size() || !path.starts_with(before) ||
      !path.ends_with(behind))
    return std::nullopt;
  const std::string_view id =
      path.substr(before.size(), path.size() - before.size() - behind.size());
  return id.find('/') == std::string_view::npos ? std::optional(id) : std::nullopt;
}

struct Found {
  const Route* route = nullptr;
  std::string_view id;
  std::string allow;  // the methods of this path
};

Found find_route(const net::Request& request) {
  Found found;
  const std::string_view path = request.path.substr(std::min(kPrefix.size(), request.path.size()));
  for (const Route& route : kRoutes) {
    const auto id = match(route.path, path);
    if (!id) continue;
    if (route.method == request.method && found.route == nullptr) {
      found.route = &route;
      found.id = *id;
    }
    found.allow += (found.allow.empty() ? "" : ", ");
    found.allow += net::method_text(route.method);
  }
  return found;
}

}  // namespace

struct AdminApi::Impl : AdminContext {
  using AdminContext::AdminContext;

  // The key that calls; answers 401 where there is none that may.
  const KeyEntry* authenticate(const Directory& directory, const net::Request& request) {
    constexpr std::string_view kBearer = "Bearer ";
    const std::string_view header = request.header("authorization").value_or("");
    if (!header.starts_with(kBearer)) return nullptr;
    const KeyEntry* key = directory.find_key(header.substr(kBearer.size()), hasher);
    if (key == nullptr || key->key->revoked ||
        key->expired(options.clock.unix_ns() / 1'000'000'000) ||
        !key->allows_address(request.remote_address))
      return nullptr;
    return key;
  }

  // True: the request was for a page without a key, and is answered.
  bool answer_open_page(const net::Request& request, net::Responder& responder) {
    const auto text = [&](std::string_view type, std::string_view body) {
      const net::Header headers[] = {{"Content-Type", type}};
      responder.send(200, headers, body);
    };
    if (request.path == kOpenApiPath)
      text("application/json", admin_openapi());
    else if (request.path == kHealthPath)
      text("text/plain; charset=utf-8", "ok\n");
    else if (request.path == kMetricsPath && options.metrics_text)
      text("text/plain; version=0.0.4; charset=utf-8", options.metrics_text());
    else
      return false;
    return true;
  }

  void handle(const net::Request& request, net::Responder responder) {
    if (request.method == Method::kGet && answer_open_page(request, responder)) return;
    AdminCall call{.request = request, .responder = responder};
    const auto directory = options.keeper.directory();
    const KeyEntry* key = authenticate(*directory, request);
    if (key == nullptr)
      return reply(call,
                   AdminError{401, "unauthorized", "Authorization: Bearer needs a valid key"});
    const Found found = find_route(request);
    if (!request.path.starts_with(kPrefix) || found.allow.empty())
      return reply(call,
                   AdminError{404, "not_found",
                              fmt::format("no route {}; see {}", request.path, kOpenApiPath)});
    if (found.route == nullptr)
      return reply(call, AdminError{405,
                                    "method_not_allowed",
                                    fmt::format("{} takes {}", request.path, found.allow),
                                    {},
                                    found.allow});
    const auto id = net::percent_decode(found.id);
    if (!id) return reply(call, AdminError{400, "invalid", "the path has a broken escape"});
    call.kind = found.route->kind;
    call.id = *id;
    call.actor_id = key->key->id;
    const std::string& tenant = key->tenant().tenant->id;
    if (!key->key->admin) call.own_tenant = tenant;
    if (!allowed(*found.route, call, *key, tenant))
      return reply(call, AdminError{403, "forbidden",
                                    fmt::format("key '{}' may not do this", key->key->id)});
    found.route->handler(*this, call);
  }

  bool allowed(const Route& route, const AdminCall& call, const KeyEntry& key,
               const std::string& tenant) {
    const Actor actor{.kind = key.key->admin ? Actor::Kind::kAdminKey : Actor::Kind::kKey,
                      .id = key.key->id,
                      .tenant = tenant};
    std::string object_tenant;
    if (route.kind == ObjectKind::kUsage) {
      object_tenant = text_parameter(call, "tenant");
      if (object_tenant.empty()) object_tenant = call.own_tenant;
    } else if (route.kind == ObjectKind::kBalance) {
      object_tenant = call.id;
    }
    return contract::authorize(actor, route.action, route.kind, object_tenant);
  }
};

AdminApi::AdminApi(AdminOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
AdminApi::~AdminApi() = default;

void AdminApi::handle(const net::Request& request, net::Responder responder) {
  impl_->handle(request, std::move(responder));
}

std::vector<AdminRoute> AdminApi::routes() {
  std::vector<AdminRoute> routes;
  for (const Route& route : kRoutes) routes.push_back({route.method, route.path});
  return routes;
}

}  // namespace sluice::gateway
