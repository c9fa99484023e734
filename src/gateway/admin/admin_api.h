// /admin/v1: what an administrator sees and changes, over HTTP on a listener of its own. docs/
// admin-openapi.json describes every route; the table in admin_routes.cpp is the truth, and a test
// holds one against the other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/permission.h"
#include "core/clock.h"
#include "core/log.h"
#include "gateway/admin/snapshot_keeper.h"
#include "gateway/admin/usage_source.h"
#include "gateway/directory/key_hash.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace sluice::gateway {

struct AdminOptions {
  net::EventLoop& loop;
  SnapshotKeeper& keeper;
  contract::RecordSink& records;
  const core::Clock& clock;
  const core::Logger& log;
  std::vector<HashKey> hash_keys;                  // new secrets are hashed with the first
  std::function<void(std::span<uint8_t>)> random;  // fills with bytes nobody can guess
  std::shared_ptr<UsageSource> usage = nullptr;    // null: no store, its routes answer 503
  std::function<std::string()> metrics_text = {};  // of GET /metrics
  // A top-up or adjustment that was recorded now, each once.
  std::function<void(const contract::BalanceChange&)> on_balance_change = {};
};

struct AdminRoute {
  net::Method method;
  std::string_view path;  // behind "/admin/v1/": "keys/{id}"
};

class AdminApi {
 public:
  explicit AdminApi(AdminOptions options);
  ~AdminApi();
  AdminApi(const AdminApi&) = delete;
  AdminApi& operator=(const AdminApi&) = delete;

  // On the loop's thread; the handler of its HttpServer.
  void handle(const net::Request& request, net::Responder responder);

  static std::vector<AdminRoute> routes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The OpenAPI 3.1 document.
std::string_view admin_openapi();

// A refusal of the HTTP layer in this API's form.
net::Response admin_refusal(int status, std::string_view message);

// Makes the tenant, project and key "admin" where the snapshot has no key that may administer.
// The secret, or "" where there was one already.
core::Result<std::string, ChangeError> make_first_admin_key(
    SnapshotKeeper& keeper, const core::Clock& clock, KeyHasher& hasher,
    const std::function<void(std::span<uint8_t>)>& random);

// Makes a key in the project "default", and that where it is missing. The secret.
core::Result<std::string, ChangeError> make_default_key(
    SnapshotKeeper& keeper, const core::Clock& clock, KeyHasher& hasher,
    const std::function<void(std::span<uint8_t>)>& random);

// The key of those on this machine who show none: nobody knows its secret. Made where there is
// none, also no revoked one.
inline constexpr std::string_view kGuestKeyId = "key_guest";
core::Result<void, ChangeError> make_guest_key(
    SnapshotKeeper& keeper, const core::Clock& clock, KeyHasher& hasher,
    const std::function<void(std::span<uint8_t>)>& random);

}  // namespace sluice::gateway
