// One connection to a database, as little of it as the store needs. SQLite and PostgreSQL implement
// it; SQL above it is the same text for both, apart from the words in Dialect.
//
// Errors: kIo where the database is away, full, locked or read-only (open it again and repeat);
// kInvalid where it refuses the statement itself (a constraint, SQL).
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <variant>

#include "core/result.h"
#include "store/tables.h"

namespace sluice::store {

// Where the two databases want different words.
struct Dialect {
  std::string_view name;
  std::string_view int64;  // column types
  std::string_view int32;
  std::string_view int16;
  std::string_view identity;    // a column that numbers the rows
  std::string_view table;       // after the columns of a table
  std::string_view clustered;   // the same, of a table that is kept in the order of its primary key
  std::string_view staging;     // the same, of a temporary table that a transaction leaves empty
  std::string_view begin_read;  // a transaction that sees one state of the database
  std::string_view begin_write;
  std::string_view lock_schema;  // one migration at a time; "" where begin_write sees to it
  std::string_view lock_totals;  // one writer of balances and days at a time; "" the same
};

// A row of an answer; columns count from 0. Text is valid until the next row.
class Row {
 public:
  virtual int64_t number(int column) const = 0;
  virtual std::string_view text(int column) const = 0;

 protected:
  ~Row() = default;
};

using Parameter = std::variant<int64_t, std::string_view>;
using Parameters = std::initializer_list<Parameter>;
using RowVisitor = std::function<void(const Row&)>;

// When what is committed is on the disk.
enum class Commit : uint8_t {
  kDurable,  // when commit() returns, with all commits of this connection before it
  kLater,    // kill -9 takes nothing; a power loss may take it, with all commits after it
};

class Database {
 public:
  virtual ~Database() = default;
  virtual const Dialect& dialect() const = 0;

  // Of the transactions that begin from now on; kDurable from the start.
  virtual core::Result<void> set_commit(Commit commit) = 0;

  // Parameters are $1, $2, … in the order of their first use. Gives the number of rows changed.
  virtual core::Result<int64_t> execute(std::string_view sql, Parameters parameters = {}) = 0;

  // Rows are read as they come; memory does not grow with their number. `visit` leaves this
  // connection alone.
  virtual core::Result<void> query(std::string_view sql, Parameters parameters,
                                   const RowVisitor& visit) = 0;

  // The fast way in: `values` holds rows one after another, table.columns.size() values each.
  virtual core::Result<void> append(const BulkTable& table, std::span<const int64_t> values) = 0;

  // After an error in a transaction too.
  virtual void rollback() = 0;
};

// Rolls back what was not committed.
class Transaction {
 public:
  static core::Result<std::unique_ptr<Transaction>> begin_write(Database* database);
  static core::Result<std::unique_ptr<Transaction>> begin_read(Database* database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  core::Result<void> commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;  // nullptr once committed
};

}  // namespace sluice::store
