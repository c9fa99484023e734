#include "store/migrations.h"

#include <string>

#include <fmt/format.h>

namespace sluice::store {
namespace {

// Words in braces are the dialect's. Money is in nano-units, times in nanoseconds.
constexpr std::string_view kMigrations[] = {
    // 1: everything that the first gateway needs.
    R"(
CREATE TABLE snapshots (
  generation {int64} PRIMARY KEY,
  published_unix_ns {int64} NOT NULL,
  json TEXT NOT NULL
){table};

CREATE TABLE prices (
  version {int64} PRIMARY KEY,
  side {int16} NOT NULL,
  model TEXT NOT NULL,
  pool TEXT NOT NULL,
  valid_from_unix_s {int64} NOT NULL,
  prompt_token {int64} NOT NULL,
  cached_prompt_token {int64} NOT NULL,
  output_token {int64} NOT NULL,
  reasoning_token {int64} NOT NULL,
  compute_microsecond {int64} NOT NULL
){table};

CREATE TABLE gateways (
  number {identity},
  gateway {int64} NOT NULL UNIQUE,
  applied_sequence {int64} NOT NULL
){table};

CREATE TABLE starts (
  number {identity},
  gateway {int64} NOT NULL,
  start {int64} NOT NULL,
  UNIQUE (gateway, start)
){table};

CREATE TABLE names (
  number {identity},
  name TEXT NOT NULL UNIQUE
){table};

CREATE TABLE changes (
  gateway {int64} NOT NULL,
  sequence {int64} NOT NULL,
  generation {int64} NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  hash_before TEXT NOT NULL,
  hash_after TEXT NOT NULL,
  unix_ns {int64} NOT NULL,
  PRIMARY KEY (generation, gateway, sequence)
){clustered};

CREATE TABLE balance_changes (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  kind {int16} NOT NULL,
  amount {int64} NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  unix_ns {int64} NOT NULL
){table};

CREATE TABLE events (
  request {int64} PRIMARY KEY,
  parent {int64} NOT NULL,
  kind {int16} NOT NULL,
  outcome {int16} NOT NULL,
  decision {int16} NOT NULL,
  target_met {int16} NOT NULL,
  status {int16} NOT NULL,
  tenant {int32} NOT NULL,
  project {int32} NOT NULL,
  access_key {int32} NOT NULL,
  model {int32} NOT NULL,
  digest {int32} NOT NULL,
  finish {int32} NOT NULL,
  started_unix_ns {int64} NOT NULL,
  ttft_ns {int64} NOT NULL,
  tpot_ns {int64} NOT NULL,
  total_ns {int64} NOT NULL,
  reserved {int64} NOT NULL
){table};

CREATE TABLE lines (
  request {int64} NOT NULL,
  position {int16} NOT NULL,
  replica {int32} NOT NULL,
  pool {int32} NOT NULL,
  owner {int32} NOT NULL,
  unit {int16} NOT NULL,
  side {int16} NOT NULL,
  quantity {int64} NOT NULL,
  sale_version {int64} NOT NULL,
  cost_version {int64} NOT NULL,
  amount {int64} NOT NULL,
  cost {int64} NOT NULL,
  PRIMARY KEY (request, position)
){clustered};

CREATE TABLE reservations (
  request {int64} PRIMARY KEY,
  tenant {int32} NOT NULL,
  access_key {int32} NOT NULL,
  model {int32} NOT NULL,
  started_unix_ns {int64} NOT NULL,
  amount {int64} NOT NULL,
  tokens {int64} NOT NULL
){table};

CREATE TABLE accounts (
  number {identity},
  kind {int16} NOT NULL,
  owner TEXT NOT NULL,
  balance {int64} NOT NULL,
  UNIQUE (kind, owner)
){table};

CREATE TABLE transfers (
  number {identity},
  request {int64} NOT NULL,
  kind {int16} NOT NULL,
  from_account {int32} NOT NULL,
  to_account {int32} NOT NULL,
  amount {int64} NOT NULL
){table};

CREATE TABLE usage_days (
  day {int32} NOT NULL,
  tenant {int32} NOT NULL,
  project {int32} NOT NULL,
  access_key {int32} NOT NULL,
  model {int32} NOT NULL,
  requests {int64} NOT NULL,
  refused {int64} NOT NULL,
  failed {int64} NOT NULL,
  missed {int64} NOT NULL,
  prompt_tokens {int64} NOT NULL,
  cached_tokens {int64} NOT NULL,
  output_tokens {int64} NOT NULL,
  reasoning_tokens {int64} NOT NULL,
  compute_us {int64} NOT NULL,
  amount {int64} NOT NULL,
  cost {int64} NOT NULL,
  PRIMARY KEY (day, tenant, project, access_key, model)
){clustered};
)",
};

std::string in_dialect(std::string_view sql, const Dialect& dialect) {
  return fmt::format(fmt::runtime(sql), fmt::arg("int64", dialect.int64),
                     fmt::arg("int32", dialect.int32), fmt::arg("int16", dialect.int16),
                     fmt::arg("identity", dialect.identity), fmt::arg("table", dialect.table),
                     fmt::arg("clustered", dialect.clustered));
}

core::Result<void> run_statements(Database* database, std::string_view sql) {
  while (!sql.empty()) {
    const size_t end = sql.find(';');
    if (end == std::string_view::npos) break;
    TRY(database->execute(sql.substr(0, end)));
    sql.remove_prefix(end + 1);
  }
  return {};
}

core::Result<int64_t> found_version(Database* database) {
  int64_t version = 0;
  TRY(database->query("SELECT COALESCE(MAX(version), 0) FROM schema_version", {},
                      [&](const Row& row) { version = row.number(0); }));
  return version;
}

core::Error newer_than_this_build(int64_t version) {
  return core::unsupported(
      "the store has schema version {}, this build knows up to {}: use a newer sluice, or another "
      "store",
      version, schema_version());
}

}  // namespace

int64_t schema_version() {
  return static_cast<int64_t>(std::size(kMigrations));
}

core::Result<void> migrate(Database* database) {
  // Most stores are up to date: to see that needs no lock, which a writer of idle priority can hold
  // for long where others want all cores.
  if (const auto found = found_version(database); found.ok() && *found == schema_version())
    return {};
  const Dialect& dialect = database->dialect();
  const auto transaction = TRY(Transaction::begin_write(database));
  if (!dialect.lock_schema.empty()) {
    TRY(database->query(dialect.lock_schema, {}, [](const Row&) {}));
  }
  TRY(database->execute(in_dialect(
      "CREATE TABLE IF NOT EXISTS schema_version (version {int64} PRIMARY KEY){table}", dialect)));
  const int64_t found = TRY(found_version(database));
  if (found > schema_version()) return newer_than_this_build(found);
  for (int64_t version = found + 1; version <= schema_version(); ++version) {
    TRY(run_statements(database, in_dialect(kMigrations[version - 1], dialect)));
    TRY(database->execute("INSERT INTO schema_version VALUES ($1)", {version}));
  }
  return transaction->commit();
}

core::Result<void> check_schema(Database* database) {
  const auto found = found_version(database);
  if (!found.ok() && found.error().code == core::ErrorCode::kIo) return found.error();
  if (!found.ok()) return core::Error{core::ErrorCode::kNotFound, "there is no Sluice store in it"};
  if (*found > schema_version()) return newer_than_this_build(*found);
  if (*found < schema_version()) {
    return core::unsupported(
        "the store has schema version {}, this build reads {}: the gateway of this build brings it "
        "forward when it starts",
        *found, schema_version());
  }
  return {};
}

}  // namespace sluice::store
