#include "apps/gateway/admin_plane.h"

#include <filesystem>

#include "apps/gateway/admin_client.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::apps {
namespace {

std::vector<std::string> ids_of(const std::vector<gateway::HashKey>& keys) {
  std::vector<std::string> ids;
  for (const gateway::HashKey& key : keys) ids.push_back(key.id);
  return ids;
}

std::string url_of(const gateway::ListenAddress& address, uint16_t port) {
  const bool ipv6 = address.host.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}", ipv6 ? "[" : "", address.host, ipv6 ? "]" : "", port);
}

}  // namespace

AdminPlane::AdminPlane(AdminPlaneOptions options)
    : options_(std::move(options)), hasher_(options_.hash_keys) {}

AdminPlane::~AdminPlane() {
  loop_.stop();
  if (thread_.joinable()) thread_.join();
}

core::Result<std::unique_ptr<AdminPlane>> AdminPlane::make(AdminPlaneOptions options) {
  std::unique_ptr<AdminPlane> plane(new AdminPlane(std::move(options)));
  if (const auto started = plane->start(); !started.ok()) return started.error();
  return plane;
}

core::Result<void> AdminPlane::start() {
  const std::filesystem::path folder(options_.config.data_folder);
  const std::string path = (folder / "snapshot.json").string();
  gateway::SnapshotFile first = TRY(first_snapshot(path));
  keeper_ = std::make_unique<gateway::SnapshotKeeper>(
      gateway::KeeperOptions{.clock = options_.clock,
                             .log = options_.log,
                             .records = options_.records,
                             .path = path,
                             .hash_key_ids = ids_of(options_.hash_keys),
                             .keep_also = options_.keep_also},
      std::move(first));
  if (options_.prepare)
    if (const auto prepared = options_.prepare(*keeper_, hasher_); !prepared.ok())
      return prepared.error();
  const auto applied =
      keeper_->apply_file(gateway::snapshot_of(options_.config, options_.secrets, hasher_));
  if (!applied.ok()) return core::invalid("{}", applied.error().message);
  keeper_->subscribe(options_.on_directory);

  api_ = std::make_unique<gateway::AdminApi>(
      gateway::AdminOptions{.loop = loop_,
                            .keeper = *keeper_,
                            .records = options_.records,
                            .clock = options_.clock,
                            .log = options_.log,
                            .hash_keys = options_.hash_keys,
                            .random = fill_with_random_bytes,
                            .usage = options_.usage,
                            .metrics_text = options_.metrics_text,
                            .on_balance_change = options_.on_balance_change});
  server_ = std::make_unique<net::HttpServer>(net::ServerOptions{
      .loop = loop_,
      .handler = [this](const net::Request& request,
                        net::Responder responder) { api_->handle(request, std::move(responder)); },
      .refusal = gateway::admin_refusal});
  const gateway::ListenAddress& address = options_.config.admin;
  url_ = url_of(address, TRY(server_->listen(address.host, address.port)));
  return make_first_key();
}

core::Result<gateway::SnapshotFile> AdminPlane::first_snapshot(const std::string& path) {
  auto file = TRY(gateway::read_snapshot_file(path));
  if (file) return std::move(*file);
  gateway::SnapshotFile first;
  if (!options_.last_of_store) return first;
  auto last = options_.last_of_store();
  if (!last.ok()) {
    options_.log.warning("starting without an earlier snapshot: {}", last.error().message);
  } else if (*last) {
    first = std::move(**last);
    // Which of them were the file's is not in the store: those that it names.
    gateway::for_each_list(options_.config.snapshot, [&](auto kind, const auto& list) {
      for (const auto& object : list)
        first.file_owned.insert(gateway::object_name(kind, gateway::id_of(object)));
    });
    options_.log.info("starting from generation {} of the store", first.snapshot.generation);
  }
  return first;
}

core::Result<void> AdminPlane::make_first_key() {
  auto made =
      gateway::make_first_admin_key(*keeper_, options_.clock, hasher_, fill_with_random_bytes);
  if (!made.ok()) return core::invalid("the first admin key: {}", made.error().message);
  first_key_ = *made;
  const std::string& folder = options_.config.data_folder;
  AdminAccess access{url_, first_key_};
  if (first_key_.empty()) {
    auto known = read_admin_access(folder);
    if (!known.ok()) return {};  // the administrator has taken the key away
    access.key = std::move(known->key);
  }
  return write_admin_access(folder, access);
}

void AdminPlane::tick() {
  options_.on_tick();
  tick_timer_.start(kTickNs, [this] { tick(); });
}

void AdminPlane::run() {
  tick();
  thread_ = std::thread([this] { loop_.run(); });
}

void AdminPlane::apply_file(contract::Snapshot from_file, std::function<void()> done) {
  loop_.post([this, from_file = std::move(from_file), done = std::move(done)] {
    const auto applied = keeper_->apply_file(from_file);
    if (applied.ok())
      options_.log.info("generation {} is in force", keeper_->snapshot().generation);
    else
      options_.log.error("configuration not taken over: {}", applied.error().message);
    done();
  });
}

}  // namespace sluice::apps
