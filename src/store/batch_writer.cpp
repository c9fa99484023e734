#include "store/batch_writer.h"

#include <utility>

#include "core/turns.h"
#include "ledger/account.h"

namespace sluice::store {
namespace {

constexpr int64_t kNoRequest = 0;

void push(std::vector<int64_t>& rows, std::initializer_list<int64_t> row) {
  rows.insert(rows.end(), row);
}

contract::Reservation reservation_in(const contract::UsageEvent& event) {
  return {.id = event.id,
          .tenant = event.tenant,
          .key = event.key,
          .model = event.model,
          .started_unix_ns = event.started_unix_ns,
          .amount = event.reserved,
          .tokens = 0};
}

std::string_view insert_balance_change() {
  return "INSERT INTO balance_changes (id, tenant, kind, amount, actor, reason, unix_ns) "
         "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
}

std::string_view insert_change() {
  return "INSERT INTO changes (gateway, sequence, generation, actor, action, object, hash_before, "
         "hash_after, unix_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
}

std::string_view add_staged_balances() {
  return "UPDATE accounts SET balance = accounts.balance + added.amount "
         "FROM staged_balances AS added WHERE added.account = accounts.number";
}

std::string_view add_staged_days() {
  return R"(
INSERT INTO usage_days (day, tenant, project, access_key, model, requests, refused, failed, missed,
                        prompt_tokens, cached_tokens, output_tokens, reasoning_tokens, compute_us,
                        amount, cost)
SELECT day, tenant, project, access_key, model, requests, refused, failed, missed, prompt_tokens,
       cached_tokens, output_tokens, reasoning_tokens, compute_us, amount, cost
FROM staged_days WHERE true
ON CONFLICT (day, tenant, project, access_key, model) DO UPDATE SET
  requests = usage_days.requests + excluded.requests,
  refused = usage_days.refused + excluded.refused,
  failed = usage_days.failed + excluded.failed,
  missed = usage_days.missed + excluded.missed,
  prompt_tokens = usage_days.prompt_tokens + excluded.prompt_tokens,
  cached_tokens = usage_days.cached_tokens + excluded.cached_tokens,
  output_tokens = usage_days.output_tokens + excluded.output_tokens,
  reasoning_tokens = usage_days.reasoning_tokens + excluded.reasoning_tokens,
  compute_us = usage_days.compute_us + excluded.compute_us,
  amount = usage_days.amount + excluded.amount,
  cost = usage_days.cost + excluded.cost)";
}

core::Result<void> make_staging_tables(Database* database) {
  const auto column_type = [&](int bytes) {
    const Dialect& dialect = database->dialect();
    return bytes == 8 ? dialect.int64 : bytes == 4 ? dialect.int32 : dialect.int16;
  };
  for (const BulkTable& table : {kStagedBalances, kStagedClosed, kStagedDays}) {
    std::string columns;
    for (const BulkColumn& column : table.columns)
      columns += fmt::format("{}{} {} NOT NULL", columns.empty() ? "" : ", ", column.name,
                             column_type(column.bytes));
    TRY(database->execute(fmt::format("CREATE TEMP TABLE IF NOT EXISTS {} ({}){}", table.name,
                                      columns, database->dialect().staging)));
  }
  return {};
}

// Puts the rows into an empty staging table, runs the statement over it, empties it.
core::Result<void> run_staged(Database* database, const BulkTable& table,
                              const std::vector<int64_t>& rows, std::string_view statement) {
  if (rows.empty()) return {};
  TRY(database->append(table, rows));
  TRY(database->execute(statement));
  TRY(database->execute(fmt::format("DELETE FROM {}", table.name)));
  return {};
}

}  // namespace

void BatchWriter::Rows::clear() {
  for (auto* rows : {&events, &lines, &transfers, &reservations, &closed}) rows->clear();
  opened.clear();
  balances.clear();
  days.clear();
  balance_changes.clear();
  changes.clear();
  written = {};
}

BatchWriter::BatchWriter(Database* database, uint64_t gateway)
    : database_(database),
      gateway_(gateway),
      names_(database),
      accounts_(database),
      requests_(database) {}

core::Result<std::unique_ptr<BatchWriter>> BatchWriter::open(Database* database, uint64_t gateway) {
  std::unique_ptr<BatchWriter> writer(new BatchWriter(database, gateway));
  TRY(writer->load());
  return writer;
}

core::Result<void> BatchWriter::load() {
  open_.clear();
  TRY(make_staging_tables(database_));
  const auto gateway = static_cast<int64_t>(gateway_);
  TRY(
      database_->execute("INSERT INTO gateways (gateway, applied_sequence) VALUES ($1, 0) "
                         "ON CONFLICT (gateway) DO NOTHING",
                         {gateway}));
  TRY(database_->query("SELECT number, applied_sequence FROM gateways WHERE gateway = $1",
                       {gateway}, [&](const Row& row) {
                         gateway_number_ = row.number(0);
                         applied_sequence_ = static_cast<uint64_t>(row.number(1));
                       }));
  return database_->query(
      "SELECT request, tenant, access_key, model, started_unix_ns, amount, tokens, gateway, start "
      "FROM reservations JOIN starts ON starts.number = (request >> 40) WHERE gateway = $1",
      {gateway}, [&](const Row& row) {
        OpenReservation open{.row = {}, .stored = true};
        for (size_t i = 0; i < kReservationWidth; ++i)
          open.row[i] = row.number(static_cast<int>(i));
        open_.emplace(request_of(open.row[0], row.number(7), row.number(8)), open);
      });
}

core::Result<WrittenBatch> BatchWriter::apply(std::span<const SequencedRecord> records,
                                              Commit commit) {
  if (records.empty()) return WrittenBatch{};
  ASSERT(records.front().sequence > applied_sequence_, "record {} after {}",
         records.front().sequence, applied_sequence_);
  TRY(translate(records, Duplicates::kUnlikely));
  auto written = write(records.back().sequence, commit);
  if (!written.ok() && written.error().code == core::ErrorCode::kInvalid) {
    const uint64_t applied_before = applied_sequence_;
    TRY(load());
    if (applied_sequence_ != applied_before) return followed_by_another(applied_before);
    TRY(translate(records, Duplicates::kLookedFor));
    written = write(records.back().sequence, commit);
  }
  if (!written.ok()) return written.error();
  applied_sequence_ = records.back().sequence;
  return rows_.written;
}

core::Result<void> BatchWriter::make_durable() {
  TRY(database_->set_commit(Commit::kDurable));
  const auto transaction = TRY(Transaction::begin_write(database_));
  TRY(move_mark(applied_sequence_));  // something to write
  return transaction->commit();
}

core::Result<void> BatchWriter::translate(std::span<const SequencedRecord> records,
                                          Duplicates duplicates) {
  rows_.clear();
  for (const SequencedRecord& each : records) {
    core::let_others_first();
    if (const auto* reservation = std::get_if<contract::Reservation>(&each.record)) {
      TRY(add(*reservation, each.record));
    } else if (const auto* event = std::get_if<contract::UsageEvent>(&each.record)) {
      TRY(add(*event, each.record, duplicates));
    } else if (const auto* change = std::get_if<contract::ChangeRecord>(&each.record)) {
      rows_.changes.emplace_back(each.sequence, change);
    } else {
      std::vector<TransferRow> transfers = TRY(transfer_rows(kNoRequest, each.record));
      rows_.balance_changes.push_back(
          {&std::get<contract::BalanceChange>(each.record), std::move(transfers)});
    }
  }
  return {};
}

core::Result<void> BatchWriter::add(const contract::Reservation& reservation,
                                    const contract::Record& record) {
  if (open_.contains(reservation.id)) {
    ++rows_.written.duplicates;
    return {};
  }
  const int64_t request = TRY(requests_.number_of(reservation.id));
  const int64_t tenant = TRY(names_.number_of(reservation.tenant));
  const int64_t key = TRY(names_.number_of(reservation.key));
  const int64_t model = TRY(names_.number_of(reservation.model));
  open_.emplace(reservation.id,
                OpenReservation{.row = {request, tenant, key, model, reservation.started_unix_ns,
                                        reservation.amount.nano, reservation.tokens}});
  rows_.opened.push_back(reservation.id);
  const std::vector<TransferRow> transfers = TRY(transfer_rows(request, record));
  post(transfers);
  return {};
}

core::Result<void> BatchWriter::add(const contract::UsageEvent& event,
                                    const contract::Record& record, Duplicates duplicates) {
  const int64_t request = TRY(requests_.number_of(event.id));
  if (duplicates == Duplicates::kLookedFor && TRY(has_event(request))) {
    ++rows_.written.duplicates;
    return {};
  }
  const auto open = open_.find(event.id);
  if (open != open_.end()) {
    if (open->second.stored) rows_.closed.push_back(request);
    open_.erase(open);
  } else if (event.reserved.nano > 0) {
    // A store that began after the journal did: the event says what had been reserved.
    const std::vector<TransferRow> missed = TRY(transfer_rows(request, reservation_in(event)));
    post(missed);
  }
  const int64_t parent = TRY(requests_.number_of(event.parent));
  DayKey day{.day = day_of(event.started_unix_ns)};
  day.tenant = TRY(names_.number_of(event.tenant));
  day.project = TRY(names_.number_of(event.project));
  day.key = TRY(names_.number_of(event.key));
  day.model = TRY(names_.number_of(event.model));
  const int64_t digest = TRY(names_.number_of(event.model_digest));
  const int64_t finish = TRY(names_.number_of(event.finish_reason));
  push(rows_.events,
       {request, parent, static_cast<int64_t>(event.kind), static_cast<int64_t>(event.outcome),
        static_cast<int64_t>(event.decision), event.target_met ? 1 : 0, event.status, day.tenant,
        day.project, day.key, day.model, digest, finish, event.started_unix_ns, event.ttft_ns,
        event.tpot_ns, event.total_ns, event.reserved.nano});
  TRY(add_lines(request, event));
  rows_.days[day].add(event);
  ++rows_.written.events;
  const std::vector<TransferRow> transfers = TRY(transfer_rows(request, record));
  post(transfers);
  return {};
}

core::Result<void> BatchWriter::add_lines(int64_t request, const contract::UsageEvent& event) {
  int64_t position = 0;
  for (const contract::UsageLine& line : event.lines) {
    const int64_t replica = TRY(names_.number_of(line.replica));
    const int64_t pool = TRY(names_.number_of(line.pool));
    const int64_t owner = TRY(names_.number_of(line.owner));
    push(rows_.lines, {request, position++, replica, pool, owner, static_cast<int64_t>(line.unit),
                       static_cast<int64_t>(line.side), line.quantity, line.sale_version,
                       line.cost_version, line.amount.nano, line.cost.nano});
  }
  return {};
}

core::Result<std::vector<BatchWriter::TransferRow>> BatchWriter::transfer_rows(
    int64_t request, const contract::Record& record) {
  const std::vector<ledger::Transfer> transfers = TRY(ledger::transfers_of(record));
  std::vector<TransferRow> rows;
  for (const ledger::Transfer& transfer : transfers) {
    const int64_t from = TRY(accounts_.number_of(transfer.from));
    const int64_t to = TRY(accounts_.number_of(transfer.to));
    rows.push_back({request, static_cast<int64_t>(transfer.kind), from, to, transfer.amount.nano});
  }
  return rows;
}

void BatchWriter::post(const std::vector<TransferRow>& rows) {
  for (const TransferRow& row : rows) {
    rows_.transfers.insert(rows_.transfers.end(), row.begin(), row.end());
    const auto [request, kind, from, to, amount] = row;
    rows_.balances[from] -= amount;
    rows_.balances[to] += amount;
  }
}

core::Result<bool> BatchWriter::has_event(int64_t request) {
  for (size_t at = 0; at < rows_.events.size(); at += kEvents.columns.size())
    if (rows_.events[at] == request) return true;
  bool found = false;
  TRY(database_->query("SELECT 1 FROM events WHERE request = $1", {request},
                       [&](const Row&) { found = true; }));
  return found;
}

core::Result<void> BatchWriter::write(uint64_t last_sequence, Commit commit) {
  for (const contract::RequestId id : rows_.opened) {
    const auto open = open_.find(id);
    if (open == open_.end() || open->second.stored) continue;
    open->second.stored = true;
    const auto& row = open->second.row;
    rows_.reservations.insert(rows_.reservations.end(), row.begin(), row.end());
  }
  TRY(database_->set_commit(commit));
  const auto transaction = TRY(Transaction::begin_write(database_));
  TRY(database_->append(kEvents, rows_.events));
  TRY(database_->append(kLines, rows_.lines));
  TRY(database_->append(kReservations, rows_.reservations));
  TRY(run_staged(database_, kStagedClosed, rows_.closed,
                 "DELETE FROM reservations WHERE request IN (SELECT request FROM staged_closed)"));
  TRY(write_changes());
  TRY(write_balance_changes());
  TRY(database_->append(kTransfers, rows_.transfers));
  TRY(write_totals());
  TRY(move_mark(last_sequence));
  return transaction->commit();
}

// The caller's id decides here, where nobody else can be in between.
core::Result<void> BatchWriter::write_balance_changes() {
  for (const PendingBalanceChange& pending : rows_.balance_changes) {
    const contract::BalanceChange& change = *pending.change;
    const int64_t inserted = TRY(database_->execute(
        insert_balance_change(),
        {storable(change.id), storable(change.tenant), static_cast<int64_t>(change.kind),
         change.amount.nano, storable(change.actor), storable(change.reason), change.unix_ns}));
    if (inserted == 0) {
      ++rows_.written.duplicates;
    } else {
      post(pending.transfers);
    }
  }
  return {};
}

core::Result<void> BatchWriter::write_changes() {
  for (const auto& [sequence, change] : rows_.changes) {
    TRY(database_->execute(
        insert_change(),
        {gateway_number_, static_cast<int64_t>(sequence), change->generation,
         storable(change->actor), storable(change->action), storable(change->object),
         change->hash_before, change->hash_after, change->unix_ns}));
  }
  return {};
}

core::Result<void> BatchWriter::write_totals() {
  std::vector<int64_t> balances;
  for (const auto& [account, amount] : rows_.balances) push(balances, {account, amount});
  std::vector<int64_t> days;
  for (const auto& [key, totals] : rows_.days) {
    push(days, {key.day, key.tenant, key.project, key.key, key.model, totals.requests,
                totals.refused, totals.failed, totals.missed, totals.prompt_tokens,
                totals.cached_tokens, totals.output_tokens, totals.reasoning_tokens,
                totals.compute_us, totals.amount.nano, totals.cost.nano});
  }
  if (!database_->dialect().lock_totals.empty())
    TRY(database_->execute(database_->dialect().lock_totals));
  TRY(run_staged(database_, kStagedBalances, balances, add_staged_balances()));
  return run_staged(database_, kStagedDays, days, add_staged_days());
}

core::Result<void> BatchWriter::move_mark(uint64_t last_sequence) {
  const int64_t moved = TRY(database_->execute(
      "UPDATE gateways SET applied_sequence = $1 WHERE number = $2 AND applied_sequence = $3",
      {static_cast<int64_t>(last_sequence), gateway_number_,
       static_cast<int64_t>(applied_sequence_)}));
  if (moved == 1) return {};
  return followed_by_another(applied_sequence_);
}

core::Error BatchWriter::followed_by_another(uint64_t applied_sequence) const {
  return core::invalid(
      "record {} of gateway {:016x} is no longer the last one in the store: another process "
      "follows "
      "the same journal",
      applied_sequence, gateway_);
}

}  // namespace sluice::store
