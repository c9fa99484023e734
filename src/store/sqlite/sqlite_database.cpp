#include "store/sqlite/sqlite_database.h"

#include <sqlite3.h>

#include <functional>
#include <map>
#include <unordered_map>
#include <vector>

#include "core/turns.h"

namespace sluice::store {
namespace {

constexpr Dialect kDialect = {
    .name = "SQLite",
    .int64 = "INTEGER",
    .int32 = "INTEGER",
    .int16 = "INTEGER",
    .identity = "INTEGER PRIMARY KEY",
    .table = " STRICT",
    .clustered = " STRICT, WITHOUT ROWID",
    .staging = "",
    .begin_read = "BEGIN",
    .begin_write = "BEGIN IMMEDIATE",
    .lock_schema = "",
    .lock_totals = "",
};

// A gateway's writer has idle priority: where others want all cores, its 50 ms take seconds.
constexpr int kBusyTimeoutMs = 30'000;
// Appending touches few pages again, so that a long log costs no more than a short one and is
// copied into the database less often.
constexpr std::string_view kSettings[] = {
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 2000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",
};

struct Close {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, Close>;
using Statement = std::unique_ptr<sqlite3_stmt, Close>;

core::Error error_of(sqlite3* connection, std::string_view doing) {
  const int code = sqlite3_errcode(connection) & 0xff;  // without the extension
  const bool refused = code == SQLITE_CONSTRAINT || code == SQLITE_ERROR ||
                       code == SQLITE_MISMATCH || code == SQLITE_RANGE || code == SQLITE_TOOBIG;
  return {refused ? core::ErrorCode::kInvalid : core::ErrorCode::kIo,
          fmt::format("SQLite: {} (code {}) at: {}", sqlite3_errmsg(connection),
                      sqlite3_extended_errcode(connection), doing)};
}

class SqliteRow final : public Row {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}
  int64_t number(int column) const override { return sqlite3_column_int64(statement_, column); }
  std::string_view text(int column) const override {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  sqlite3_stmt* statement_;
};

// A statement in use; ready for the next one afterwards.
class Run {
 public:
  explicit Run(sqlite3_stmt* statement) : statement_(statement) {}
  ~Run() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

 private:
  sqlite3_stmt* statement_;
};

int bind(sqlite3_stmt* statement, int index, const Parameter& parameter) {
  if (const auto* number = std::get_if<int64_t>(&parameter))
    return sqlite3_bind_int64(statement, index, *number);
  const auto text = std::get<std::string_view>(parameter);
  // A null pointer would be NULL: an empty view may have one.
  return sqlite3_bind_text64(statement, index, text.empty() ? "" : text.data(), text.size(),
                             SQLITE_STATIC, SQLITE_UTF8);
}

std::string insert_statement(const BulkTable& table) {
  std::string columns;
  std::string marks;
  for (const BulkColumn& column : table.columns) {
    columns += fmt::format("{}{}", columns.empty() ? "" : ",", column.name);
    marks += marks.empty() ? "?" : ",?";
  }
  return fmt::format("INSERT INTO {} ({}) VALUES ({})", table.name, columns, marks);
}

class SqliteDatabase final : public Database {
 public:
  explicit SqliteDatabase(Connection connection) : connection_(std::move(connection)) {}

  const Dialect& dialect() const override { return kDialect; }

  core::Result<int64_t> execute(std::string_view sql, Parameters parameters) override {
    const int64_t before = sqlite3_total_changes64(connection_.get());
    TRY(query(sql, parameters, [](const Row&) {}));
    return sqlite3_total_changes64(connection_.get()) - before;
  }

  core::Result<void> query(std::string_view sql, Parameters parameters,
                           const RowVisitor& visit) override {
    sqlite3_stmt* statement = TRY(prepared(sql));
    const Run run(statement);
    int index = 0;
    for (const Parameter& parameter : parameters) {
      if (bind(statement, ++index, parameter) != SQLITE_OK) return error_of(connection_.get(), sql);
    }
    const SqliteRow row(statement);
    int state;
    while ((state = sqlite3_step(statement)) == SQLITE_ROW) visit(row);
    if (state != SQLITE_DONE) return error_of(connection_.get(), sql);
    return {};
  }

  core::Result<void> append(const BulkTable& table, std::span<const int64_t> values) override {
    const size_t width = table.columns.size();
    ASSERT(values.size() % width == 0, "{} values, {} a row", values.size(), width);
    Statement& insert = inserts_[table.name];
    if (insert == nullptr) insert = TRY(prepare(insert_statement(table)));
    for (size_t at = 0; at < values.size(); at += width) {
      for (size_t i = 0; i < width; ++i)
        sqlite3_bind_int64(insert.get(), static_cast<int>(i + 1), values[at + i]);
      const int state = sqlite3_step(insert.get());
      if (sqlite3_reset(insert.get()) != SQLITE_OK || state != SQLITE_DONE)
        return error_of(connection_.get(), table.name);
      core::let_others_first();
    }
    return {};
  }

  // Not as a statement that is kept: SQLite acts on it when it compiles it.
  core::Result<void> set_commit(Commit commit) override {
    if (commit == commit_) return {};
    const char* setting =
        commit == Commit::kDurable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL";
    if (sqlite3_exec(connection_.get(), setting, nullptr, nullptr, nullptr) != SQLITE_OK)
      return error_of(connection_.get(), setting);
    commit_ = commit;
    return {};
  }

  void rollback() override {
    if (sqlite3_get_autocommit(connection_.get()) == 0)
      sqlite3_exec(connection_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }

 private:
  core::Result<Statement> prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
      return error_of(connection_.get(), sql);
    return Statement(statement);
  }

  core::Result<sqlite3_stmt*> prepared(std::string_view sql) {
    const auto found = statements_.find(sql);
    if (found != statements_.end()) return found->second.get();
    Statement statement = TRY(prepare(sql));
    return statements_.emplace(sql, std::move(statement)).first->second.get();
  }

  Connection connection_;  // outlives the statements
  std::map<std::string, Statement, std::less<>> statements_;
  std::map<std::string_view, Statement> inserts_;  // by table
  Commit commit_ = Commit::kDurable;               // as kSettings has it
};

}  // namespace

core::Result<std::unique_ptr<Database>> open_sqlite(const std::string& path, WhereMissing missing) {
  const int create = missing == WhereMissing::kCreate ? SQLITE_OPEN_CREATE : 0;
  sqlite3* opened = nullptr;
  const int state = sqlite3_open_v2(
      path.c_str(), &opened,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | create, nullptr);
  Connection connection(opened);
  if (opened == nullptr) return core::Error{core::ErrorCode::kIo, "SQLite: out of memory"};
  if (state != SQLITE_OK) return error_of(opened, fmt::format("open '{}'", path));
  sqlite3_busy_timeout(opened, kBusyTimeoutMs);
  auto database = std::make_unique<SqliteDatabase>(std::move(connection));
  for (const std::string_view setting : kSettings) {
    if (auto set = database->query(setting, {}, [](const Row&) {}); !set.ok())
      return set.error().within(fmt::format("'{}'", path));
  }
  return std::unique_ptr<Database>(std::move(database));
}

}  // namespace sluice::store
