// Applies a gateway's records to the database: a batch is one transaction with the sequence number
// of its last record, so that each record counts exactly once whatever dies when.
//
// In the transaction: the events and their lines, the transfers that ledger/ makes of the records,
// the reservations that are still open after the batch, what changes balances and days in sum, and
// changes of administrators.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "contract/record_codec.h"
#include "contract/usage_event.h"
#include "core/result.h"
#include "store/database.h"
#include "store/numbering.h"
#include "store/usage_totals.h"

namespace sluice::store {

struct SequencedRecord {
  uint64_t sequence = 0;
  contract::Record record;
};

struct WrittenBatch {
  int64_t events = 0;
  int64_t duplicates = 0;  // of a request that has its event or reservation: nothing was done
};

class BatchWriter {
 public:
  // Reads how far `gateway` has come. The database outlives the writer.
  static core::Result<std::unique_ptr<BatchWriter>> open(Database* database, uint64_t gateway);

  // The last record that the database holds; 0: none yet.
  uint64_t applied_sequence() const { return applied_sequence_; }

  // Records in the order of their sequence, the first above applied_sequence(). On an error nothing
  // of them is in the database, or (where the connection broke at the end) all: this writer is of
  // no further use, a new one knows. kInvalid: a record that the ledger refuses, or somebody else
  // follows the same journal.
  core::Result<WrittenBatch> apply(std::span<const SequencedRecord> records,
                                   Commit commit = Commit::kDurable);

  // What was applied with Commit::kLater is on the disk afterwards.
  core::Result<void> make_durable();

 private:
  struct DayKey {
    int64_t day = 0;
    int64_t tenant = 0;
    int64_t project = 0;
    int64_t key = 0;
    int64_t model = 0;
    auto operator<=>(const DayKey&) const = default;
  };
  using TransferRow = std::array<int64_t, kTransfers.columns.size()>;
  struct PendingBalanceChange {
    const contract::BalanceChange* change;
    std::vector<TransferRow> transfers;  // if its id is new
  };
  static constexpr size_t kReservationWidth = kReservations.columns.size();
  struct OpenReservation {
    std::array<int64_t, kReservationWidth> row;
    bool stored = false;  // in the table
  };
  struct RequestIdHash {
    size_t operator()(contract::RequestId id) const {
      return id.sequence * 0x9e3779b97f4a7c15ull ^ id.gateway;
    }
  };
  // One batch, as rows.
  struct Rows {
    std::vector<int64_t> events;
    std::vector<int64_t> lines;
    std::vector<int64_t> transfers;
    std::vector<int64_t> reservations;
    std::vector<int64_t> closed;
    std::vector<contract::RequestId> opened;  // in this batch
    std::map<int64_t, int64_t> balances;      // account to what is added
    std::map<DayKey, UsageTotals> days;
    std::vector<PendingBalanceChange> balance_changes;
    std::vector<std::pair<uint64_t, const contract::ChangeRecord*>> changes;  // with sequence
    WrittenBatch written;
    void clear();
  };
  enum class Duplicates { kUnlikely, kLookedFor };

  BatchWriter(Database* database, uint64_t gateway);
  core::Result<void> load();
  core::Result<void> translate(std::span<const SequencedRecord> records, Duplicates duplicates);
  // `record` holds the one before it.
  core::Result<void> add(const contract::Reservation& reservation, const contract::Record& record);
  core::Result<void> add(const contract::UsageEvent& event, const contract::Record& record,
                         Duplicates duplicates);
  core::Result<void> add_lines(int64_t request, const contract::UsageEvent& event);
  core::Result<std::vector<TransferRow>> transfer_rows(int64_t request,
                                                       const contract::Record& record);
  void post(const std::vector<TransferRow>& rows);
  core::Result<bool> has_event(int64_t request);
  core::Result<void> write(uint64_t last_sequence, Commit commit);
  core::Result<void> write_balance_changes();
  core::Result<void> write_changes();
  core::Result<void> write_totals();
  core::Result<void> move_mark(uint64_t last_sequence);
  core::Error followed_by_another(uint64_t applied_sequence) const;

  Database* database_;
  const uint64_t gateway_;
  int64_t gateway_number_ = 0;
  uint64_t applied_sequence_ = 0;
  NameNumbers names_;
  AccountNumbers accounts_;
  RequestNumbers requests_;
  std::unordered_map<contract::RequestId, OpenReservation, RequestIdHash> open_;
  Rows rows_;
};

}  // namespace sluice::store
