// A whole gateway in this process, joined from its parts: journal and store, limits and routing,
// the data loops, the admin plane. docs/gateway.md says which thread does what.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/gateway/admin_plane.h"
#include "apps/gateway/data_loop.h"
#include "apps/gateway/restore_limits.h"
#include "apps/gateway/watch_loop.h"
#include "gateway/admin/query_worker.h"
#include "gateway/limits/limit_table.h"
#include "gateway/prompts/model_texts.h"
#include "store/follower.h"
#include "store/journal.h"
#include "store/store.h"

namespace sluice::apps {

// For clients to take their last answers, after end_all().
inline constexpr int64_t kLastWordsNs = 2'000'000'000;

struct GatewayProcessOptions {
  gateway::GatewayConfig config;  // of the start
  Secrets secrets;
  FrontOptions front = {};
  PrepareSnapshot prepare = {};  // may be empty
};

class GatewayProcess {
 public:
  // Everything is ready and listens; nothing is served before run(). kLimit: another process has
  // the data folder.
  static core::Result<std::unique_ptr<GatewayProcess>> make(GatewayProcessOptions options);
  ~GatewayProcess();
  GatewayProcess(const GatewayProcess&) = delete;
  GatewayProcess& operator=(const GatewayProcess&) = delete;

  void run();  // on threads of its own

  const std::vector<std::string>& urls() const { return urls_; }
  const AdminPlane& admin() const { return *admin_; }

  // From any thread: the secrets and objects that the file names, as it says now. `done`, on some
  // loop's thread, when every data loop answers by them (or by what was before, where they are not
  // good).
  void reload(
      const gateway::GatewayConfig& config, const Secrets& secrets,
      std::function<void()> done = [] {});
  // New connections show the certificate that the files hold now. An Error changes nothing.
  core::Result<void> reload_certificate();
  // Running requests are answered, then `done`, on some loop's thread.
  void drain(std::function<void()> done);
  // What still runs ends with an error, then `done`, on some loop's thread.
  void end_all(std::function<void()> done);

 private:
  explicit GatewayProcess(GatewayProcessOptions options);
  core::Result<void> start();
  core::Result<void> open_records();
  core::Result<void> make_loops();
  core::Result<void> make_admin();
  core::Result<std::optional<gateway::SnapshotFile>> last_of_store() const;
  // On the admin loop.
  void on_directory(std::shared_ptr<const gateway::Directory> directory);
  void on_balance_change(const contract::BalanceChange& change);
  void free_retired();
  void start_proof();
  std::string metrics_text() const;
  // On the archive's thread.
  void archive(const contract::Snapshot& snapshot);
  void prove_balances();

  const GatewayProcessOptions options_;
  const core::SystemClock clock_;
  const core::Logger log_;
  std::vector<gateway::HashKey> hash_keys_;
  store::StoreAddress store_address_;
  std::unique_ptr<store::Journal> journal_;
  store::JournalCopier::Source journal_source_;
  std::unique_ptr<store::Follower> follower_;
  std::unique_ptr<contract::RequestIds> request_ids_;
  std::unique_ptr<contract::ReceiptSigner> signer_;
  std::unique_ptr<gateway::LimitTable> limits_;
  gateway::Estimates estimates_;
  gateway::ModelTexts texts_{log_};
  std::shared_ptr<net::TlsServer> tls_;  // null: plain HTTP
  std::unique_ptr<DataLoopShared> shared_;
  std::vector<std::unique_ptr<DataLoop>> loops_;
  std::unique_ptr<WatchLoop> watch_;
  std::vector<std::string> urls_;
  std::shared_ptr<const gateway::RoutingTable> table_;  // of the admin loop
  std::vector<std::shared_ptr<const gateway::RoutingTable>>
      retired_;                              // in use by loops, or just so
  std::unique_ptr<LimitRestorer> restorer_;  // of the admin loop
  int64_t proof_at_ns_ = 0;                  // of the admin loop: the next
  std::atomic<int64_t> proofs_ = 0;
  std::atomic<int64_t> proof_faults_ = 0;        // of the last
  std::unique_ptr<store::Store> archive_store_;  // of the archive's thread
  int64_t archived_generation_ = 0;              // of the archive's thread: the store has it
  std::unique_ptr<gateway::QueryWorker> archive_;
  std::unique_ptr<AdminPlane> admin_;
};

}  // namespace sluice::apps
