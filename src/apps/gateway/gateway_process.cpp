#include "apps/gateway/gateway_process.h"

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "apps/gateway/store_usage_source.h"
#include "apps/model/serve_options.h"
#include "apps/process/resident_bytes.h"
#include "contract/snapshot_json.h"
#include "core/turns.h"
#include "gateway/metrics/metrics_text.h"
#include "store/verify.h"

namespace sluice::apps {
namespace {

constexpr int64_t kLastRecordsNs = 2'000'000'000;  // at the end
constexpr int64_t kCatchUpNs = 10'000'000'000;     // at the start, for what the store has missed
constexpr int64_t kProofIntervalNs = 60'000'000'000;

std::string url_of(const gateway::ListenAddress& address, uint16_t port, bool tls) {
  const bool ipv6 = address.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", tls ? "https" : "http", ipv6 ? "[" : "", address.host,
                     ipv6 ? "]" : "", port);
}

// Calls `done` at its own call number `count`.
std::function<void()> once_of(size_t count, std::function<void()> done) {
  return [left = std::make_shared<std::atomic<size_t>>(count), done = std::move(done)] {
    if (left->fetch_sub(1) == 1) done();
  };
}

net::ServerStats sum_of(const std::vector<std::unique_ptr<DataLoop>>& loops) {
  net::ServerStats sum;
  for (const auto& loop : loops) {
    const net::ServerStats stats = loop->http_stats();
    sum.connections += stats.connections;
    sum.refused += stats.refused;
    sum.rejected += stats.rejected;
    sum.cut += stats.cut;
  }
  return sum;
}

}  // namespace

GatewayProcess::GatewayProcess(GatewayProcessOptions options) : options_(std::move(options)) {}

// The admin plane first: it posts to the loops. Then the loops, then what they write to. Who asks
// the store afterwards finds everything, unless it is far behind.
GatewayProcess::~GatewayProcess() {
  admin_.reset();
  watch_.reset();
  loops_.clear();
  archive_.reset();
  if (follower_ == nullptr) return;
  if (!journal_->flush().ok()) return;
  follower_->wait_until_applied(journal_->last_sequence(), kLastRecordsNs);
}

core::Result<std::unique_ptr<GatewayProcess>> GatewayProcess::make(GatewayProcessOptions options) {
  std::unique_ptr<GatewayProcess> process(new GatewayProcess(std::move(options)));
  if (const auto started = process->start(); !started.ok()) return started.error();
  return process;
}

core::Result<void> GatewayProcess::start() {
  const std::string& folder = options_.config.data_folder;
  std::error_code fault;
  std::filesystem::create_directories(folder, fault);
  if (fault) return core::invalid("data_folder {}: {}", folder, fault.message());
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all, fault);
  hash_keys_ = TRY(hash_keys_of(options_.config, options_.secrets));
  for (const auto step :
       {&GatewayProcess::open_records, &GatewayProcess::make_loops, &GatewayProcess::make_admin})
    if (const auto done = (this->*step)(); !done.ok()) return done.error();
  return {};
}

core::Result<void> GatewayProcess::open_records() {
  const gateway::GatewayConfig& config = options_.config;
  const std::filesystem::path folder(config.data_folder);
  store_address_ = store::embedded_store(config.data_folder);
  if (!config.store.empty()) store_address_ = TRY(store::parse_store_address(config.store));
  const std::string journal_folder = (folder / "journal").string();
  journal_ = TRY(store::Journal::open(
      {.folder = journal_folder, .gateway_if_new = random_seed() | 1}, &clock_));
  journal_source_ = {.folder = journal_folder, .gateway = journal_->gateway()};
  signer_ = std::make_unique<contract::ReceiptSigner>(
      TRY(contract::ReceiptSigner::open((folder / "receipt_key.pem").string())));
  request_ids_ = std::make_unique<contract::RequestIds>(journal_->gateway(), journal_->start());
  limits_ = std::make_unique<gateway::LimitTable>(clock_);
  follower_ = std::make_unique<store::Follower>(
      store::Follower::Options{.address = store_address_, .journal_folder = journal_folder},
      journal_.get(), &clock_, &log_);
  restorer_ =
      std::make_unique<LimitRestorer>(LimitRestorer::Sources{.clock = clock_,
                                                             .log = log_,
                                                             .store = store_address_,
                                                             .journal_source = journal_source_,
                                                             .journal = *journal_,
                                                             .follower = *follower_,
                                                             .limits = *limits_});
  if (!follower_->wait_until_swept(kCatchUpNs))
    log_.warning(
        "the store {} does not have all records yet: who has a quota of the day or month waits "
        "until it has",
        store::to_text(store_address_));
  return {};
}

core::Result<void> GatewayProcess::make_loops() {
  const gateway::GatewayConfig& config = options_.config;
  if (!config.certificate_file.empty())
    tls_ = TRY(net::TlsServer::load(
        {.certificate_file = config.certificate_file, .key_file = config.private_key_file}));
  shared_ = std::make_unique<DataLoopShared>(DataLoopShared{
      .clock = clock_,
      .log = log_,
      .records = *journal_,
      .request_ids = *request_ids_,
      .limits = *limits_,
      .estimates = estimates_,
      .texts = texts_,
      .signer = signer_.get(),
      .hash_keys = hash_keys_,
      .secrets = {options_.secrets.begin(), options_.secrets.end()},
      .tls = tls_,
      .collector = std::nullopt,
      .front = options_.front,
      .port_use = config.threads > 1 ? net::PortUse::kShared : net::PortUse::kAlone});
  if (!config.access_log_file.empty())
    shared_->access_log_descriptor = TRY(open_access_log(config.access_log_file));
  if (!config.otlp_url.empty()) shared_->collector = TRY(net::parse_url(config.otlp_url));
  watch_ = std::make_unique<WatchLoop>(clock_, log_, shared_->secrets);
  for (int32_t i = 0; i < config.threads; ++i)
    loops_.push_back(std::make_unique<DataLoop>(*shared_, random_seed()));
  for (gateway::ListenAddress address : config.listen) {
    for (const auto& loop : loops_) address.port = TRY(loop->listen(address));
    urls_.push_back(url_of(address, address.port, tls_ != nullptr));
  }
  return {};
}

core::Result<void> GatewayProcess::make_admin() {
  archive_ = std::make_unique<gateway::QueryWorker>();
  (void)archive_->run([] { core::give_way(); });
  admin_ = TRY(AdminPlane::make(
      {.clock = clock_,
       .log = log_,
       .records = *journal_,
       .config = options_.config,
       .secrets = options_.secrets,
       .hash_keys = hash_keys_,
       .on_directory = [this](auto directory) { on_directory(std::move(directory)); },
       .last_of_store = [this] { return last_of_store(); },
       .usage = std::make_shared<StoreUsageSource>(store_address_, *journal_, *follower_),
       .keep_also = [this](const contract::Snapshot& snapshot) -> core::Result<void> {
         if (archive_->run([this, snapshot] { archive(snapshot); })) return {};
         return core::invalid("too many generations wait for it");
       },
       .metrics_text = [this] { return metrics_text(); },
       .on_balance_change =
           [this](const contract::BalanceChange& change) { on_balance_change(change); },
       .on_tick =
           [this] {
             restorer_->run();
             free_retired();
             start_proof();
           },
       .prepare = options_.prepare}));
  return {};
}

core::Result<std::optional<gateway::SnapshotFile>> GatewayProcess::last_of_store() const {
  const auto store = TRY(store::Store::open(store_address_, store::OpenFor::kReports));
  const auto last = TRY(store->latest_snapshot());
  if (!last) return std::optional<gateway::SnapshotFile>();
  gateway::SnapshotFile file;
  file.snapshot = TRY(contract::parse_snapshot(last->json));
  file.former_prices = TRY(store->price_history());
  return std::optional(std::move(file));
}

void GatewayProcess::on_balance_change(const contract::BalanceChange& change) {
  limits_->top_up(change.tenant, change.amount);
  restorer_->after_balance_change(change.tenant);
}

void GatewayProcess::on_directory(std::shared_ptr<const gateway::Directory> directory) {
  const gateway::LimitsChange change = limits_->apply({directory, &directory->snapshot()});
  limits_->withhold(change.uncounted);
  texts_.update(directory->snapshot());
  const bool at_start = table_ == nullptr;
  auto next = gateway::RoutingTable::make(std::move(directory), table_.get(), {});
  retired_.push_back(std::exchange(table_, std::move(next)));
  const auto joined = std::make_shared<JoinedRequests>(loops_.size());
  using Limits = gateway::Gateway::Limits;
  for (const auto& loop : loops_)
    loop->update(table_, change.holds_more ? Limits::kHoldMore : Limits::kHoldNoMore,
                 [joined](const auto& requests) { joined->add(requests); });
  watch_->update(table_);
  if (at_start)
    restorer_->begin_at_start(change.uncounted);
  else
    restorer_->begin(change.uncounted, joined);
}

// Who lets the last reference to a table go frees what may be tens of thousands of keys: the admin
// loop does, when no change waits for it, never a data loop.
void GatewayProcess::free_retired() {
  std::erase_if(retired_, [](const auto& table) { return table.use_count() <= 1; });
}

void GatewayProcess::archive(const contract::Snapshot& snapshot) {
  if (archive_store_ == nullptr) {
    auto opened = store::Store::open(store_address_, store::OpenFor::kService);
    if (!opened.ok())
      return log_.warning("generation {} is not in the store: {}", snapshot.generation,
                          opened.error().message);
    archive_store_ = std::move(opened).value();
  }
  const auto latest = archive_store_->generation();
  if (latest.ok() && *latest == snapshot.generation) {
    archived_generation_ = snapshot.generation;
    return;
  }
  const auto published =
      archive_store_->publish(snapshot, contract::to_json(snapshot), clock_.unix_ns());
  if (!published.ok()) {
    log_.warning("generation {} is not in the store: {}", snapshot.generation,
                 published.error().message);
    return archive_store_.reset();
  }
  archived_generation_ = snapshot.generation;
  if (*published == store::Published::kStale)
    log_.warning("generation {} is not in the store: it has a later one", snapshot.generation);
}

// Again and again while the gateway runs, at the lowest priority. With it goes a generation that
// the store did not take when it began, or whose process ended before: lines name its prices.
void GatewayProcess::start_proof() {
  const int64_t now_ns = clock_.now_ns();
  if (now_ns < proof_at_ns_ || !follower_->status().swept) return;
  proof_at_ns_ = now_ns + kProofIntervalNs;
  (void)archive_->run([this, table = table_] {  // where too much waits, the next one will do
    const gateway::Directory& directory = table->directory();
    if (archived_generation_ < directory.generation()) archive(directory.snapshot());
    prove_balances();
  });
}

void GatewayProcess::prove_balances() {
  auto store = store::Store::open(store_address_, store::OpenFor::kReports);
  if (!store.ok()) return;  // the follower's log says what its trouble is
  const auto faults = store::check_balances((*store)->database());
  if (!faults.ok()) return log_.warning("balances: {}", faults.error().message);
  for (const std::string& fault : *faults) log_.error("ledger: {}", fault);
  proof_faults_ = static_cast<int64_t>(faults->size());
  ++proofs_;
}

std::string GatewayProcess::metrics_text() const {
  std::vector<const gateway::LoopMetrics*> loops;
  int64_t spans_dropped = 0;
  for (const auto& loop : loops_) {
    loops.push_back(&loop->metrics());
    spans_dropped += loop->spans_dropped();
  }
  const store::FollowerStatus follower = follower_->status();
  gateway::MetricsInput input{.loops = loops,
                              .http = sum_of(loops_),
                              .snapshot_generation = table_->directory().generation(),
                              .ledger_lag_records = follower.lag_records,
                              .ledger_lag_ns = follower.lag_ns,
                              .ledger_proofs = proofs_,
                              .ledger_faults = proof_faults_,
                              .journal_bytes = journal_->bytes(),
                              .spans_dropped = spans_dropped,
                              .resident_bytes = resident_bytes()};
  const int64_t now_ns = clock_.now_ns();
  for (const gateway::RoutedReplica& replica : table_->replicas()) {
    const gateway::ReplicaView view = replica.tracker->view(now_ns);
    input.replicas.push_back({.replica = replica.entry->replica->id,
                              .pool = replica.entry->pool->pool->id,
                              .model = replica.entry->model->model->id,
                              .healthy = !replica.tracker->health().out(now_ns),
                              .requests_running = replica.tracker->streams(),
                              .queued_tokens = view.queued_prompt_tokens});
  }
  for (const gateway::RoutedPool& routed : table_->pools()) {
    const contract::Pool& pool = *routed.entry->pool;
    gateway::PoolGauge gauge = {.pool = pool.id,
                                .streams = routed.gate->streams(),
                                .streams_max = pool.capacity.streams_max};
    if (pool.capacity.tokens_per_minute)
      gauge.tokens_remaining = routed.gate->tokens_remaining(now_ns);
    input.pools.push_back(std::move(gauge));
  }
  for (const gateway::ModelEntry& model : table_->directory().models()) {
    const gateway::ValveView valve = table_->valve_of(model);
    gateway::ValveGauge gauge = {
        .model = model.model->id, .open = valve.open, .saturation = valve.saturation};
    for (size_t i = 0; i < gauge.q.size(); ++i)
      gauge.q[i] = valve.q(static_cast<contract::Statistic>(i));
    input.valves.push_back(std::move(gauge));
  }
  return gateway::metrics_text(input);
}

void GatewayProcess::run() {
  for (const auto& loop : loops_) loop->run();
  watch_->run();
  admin_->run();
}

void GatewayProcess::reload(const gateway::GatewayConfig& config, const Secrets& secrets,
                            std::function<void()> done) {
  // Before the objects that may name new ones.
  const std::map<std::string, std::string> said(secrets.begin(), secrets.end());
  for (const auto& loop : loops_) loop->take_secrets(said);
  watch_->take_secrets(said);
  gateway::KeyHasher hasher(hash_keys_);
  admin_->apply_file(gateway::snapshot_of(config, secrets, hasher), [this, done = std::move(done)] {
    const std::function<void()> loop_done = once_of(loops_.size(), done);
    for (const auto& loop : loops_) loop->after_updates(loop_done);
  });
}

core::Result<void> GatewayProcess::reload_certificate() {
  return tls_->reload();
}

void GatewayProcess::drain(std::function<void()> done) {
  const std::function<void()> loop_done = once_of(loops_.size(), std::move(done));
  for (const auto& loop : loops_) loop->drain(loop_done);
}

void GatewayProcess::end_all(std::function<void()> done) {
  const std::function<void()> loop_done = once_of(loops_.size(), std::move(done));
  for (const auto& loop : loops_) loop->end_all(loop_done);
}

}  // namespace sluice::apps
