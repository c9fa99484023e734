// The admin loop of a gateway: a thread with the snapshot keeper, /admin/v1 and /metrics.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "apps/gateway/gateway_secrets.h"
#include "core/clock.h"
#include "core/log.h"
#include "gateway/admin/admin_api.h"
#include "gateway/admin/config.h"

namespace sluice::apps {

// Makes what the configuration's objects may name, before they are put in force.
using PrepareSnapshot =
    std::function<core::Result<void>(gateway::SnapshotKeeper&, gateway::KeyHasher&)>;

struct AdminPlaneOptions {
  const core::Clock& clock;
  const core::Logger& log;
  contract::RecordSink& records;
  const gateway::GatewayConfig& config;  // of the start
  const Secrets& secrets;
  std::vector<gateway::HashKey> hash_keys;
  // What is in force, on the admin loop: once inside make(), then at each change.
  gateway::SnapshotKeeper::Subscriber on_directory;
  // Where there is no snapshot file: the last generation that the store has, and all its prices.
  std::function<core::Result<std::optional<gateway::SnapshotFile>>()> last_of_store = {};
  std::shared_ptr<gateway::UsageSource> usage = nullptr;  // null: no store
  std::function<core::Result<void>(const contract::Snapshot&)> keep_also = {};
  std::function<std::string()> metrics_text = {};
  std::function<void(const contract::BalanceChange&)> on_balance_change = {};
  std::function<void()> on_tick = [] {};  // on the admin loop, every kTickNs
  PrepareSnapshot prepare = {};
};

class AdminPlane {
 public:
  // Reads the last snapshot, puts the configuration file's objects in force, makes the first admin
  // key where there is none, and listens. Nothing is served before run().
  static core::Result<std::unique_ptr<AdminPlane>> make(AdminPlaneOptions options);
  ~AdminPlane();  // ends the thread
  AdminPlane(const AdminPlane&) = delete;
  AdminPlane& operator=(const AdminPlane&) = delete;

  void run();  // on a thread of its own

  const std::string& url() const { return url_; }
  // The secret of the admin key that make() made; "" where there was one.
  const std::string& first_key() const { return first_key_; }

  // From any thread: the file's objects as it says now. The outcome goes to the log, then `done` is
  // called on the admin loop.
  void apply_file(contract::Snapshot from_file, std::function<void()> done);

 private:
  static constexpr int64_t kTickNs = 100'000'000;
  explicit AdminPlane(AdminPlaneOptions options);
  core::Result<void> start();
  core::Result<gateway::SnapshotFile> first_snapshot(const std::string& path);
  core::Result<void> make_first_key();
  void tick();

  const AdminPlaneOptions options_;
  net::EventLoop loop_;
  net::Timer tick_timer_{loop_};
  gateway::KeyHasher hasher_;
  std::unique_ptr<gateway::SnapshotKeeper> keeper_;
  std::unique_ptr<gateway::AdminApi> api_;
  std::unique_ptr<net::HttpServer> server_;
  std::string url_;
  std::string first_key_;
  std::thread thread_;
};

}  // namespace sluice::apps
