// Copies the journal into the store, off the path of requests: a thread of the lowest priority that
// applies batches for as long as there are records, and looks again every kPollIntervalNs. Where
// others want every core it hardly runs: once the store is kFarBehindNs behind, a thread that has a
// small share even then takes over until it has caught up.
//
// A database that is away costs nobody anything: the records wait in the journal, the follower
// tries again at growing intervals, and status() says so. Once in kDurableIntervalNs what it has
// applied becomes durable in the database, and only then the journal may forget it: a flush of the
// disk with each batch is what would hold up the threads that answer on the same core.
//
// At its start it also ends what an earlier start of this gateway has left open: once all of their
// records are in the store, each reservation without an event gets one (ledger::lost_event) through
// the journal. Limits start from that, so until then the work has the usual priority.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"
#include "store/journal.h"
#include "store/journal_copier.h"
#include "store/store_address.h"

namespace sluice::store {

struct FollowerStatus {
  uint64_t applied_sequence = 0;  // of the journal's records: in the store
  int64_t lag_records = 0;        // in the journal and not in the store
  int64_t lag_ns = 0;             // since the store last had all that was durable; 0: it has
  bool store_open = false;
  bool swept = false;      // no reservation of an earlier start is open
  int64_t events = 0;      // applied by this process
  int64_t duplicates = 0;  // refused by their id
  int64_t failures = 0;    // of connections and batches
  int64_t pressed = 0;     // batches of the thread with a share, since the store was far behind
  std::string trouble;     // why nothing moves; "" while all is well
};

class Follower {
 public:
  static constexpr int64_t kPollIntervalNs = 250'000'000;  // or when somebody waits for a record
  static constexpr int64_t kDurableIntervalNs = 1'000'000'000;
  static constexpr int64_t kFarBehindNs = 60'000'000'000;
  static constexpr int64_t kRetryMinNs = 100'000'000;
  static constexpr int64_t kRetryMaxNs = 5'000'000'000;
  // A batch takes as many records as fit into this time of the processor, between the two counts.
  static constexpr int64_t kBatchTargetNs = 50'000'000;
  static constexpr int64_t kBatchRecordsMin = 256;
  static constexpr int64_t kBatchRecordsMax = 16'384;

  struct Options {
    StoreAddress address;
    std::string journal_folder;  // of `journal`
  };

  // journal, clock and log outlive it. Starts at once; the store may be away.
  Follower(Options options, Journal* journal, const core::Clock* clock, const core::Logger* log);
  ~Follower();  // stop()

  // From any thread.
  FollowerStatus status() const;

  // Waits until the record `sequence` is in the store, at most `timeout_ns`; whether it is. Records
  // that are not durable yet do not come: Journal::flush() first.
  bool wait_until_applied(uint64_t sequence, int64_t timeout_ns);
  // The same for the sweep: all that earlier starts have left is in the store, so that balances and
  // sums are what limits may start from.
  bool wait_until_swept(int64_t timeout_ns);

  // Ends after the batch in progress. What is left comes at the next start.
  void stop();

 private:
  enum class Next { kAtOnce, kAfterPoll, kAfterRetry };
  enum class Pace : uint8_t { kPressed, kPatient };

  void run(Pace own);
  bool take_turn(Pace own);  // waits for it; false: stop
  Next step();
  Next failed(const core::Error& error);
  void record(const CopiedBatch& batch);
  core::Result<void> sweep();
  void pass_turn(Next next);
  void adapt(int64_t took_ns, bool full);
  void pause(Pace own, Next next);

  const Options options_;
  Journal* journal_;
  const core::Clock* clock_;
  const core::Logger* log_;

  // Of the thread that has the turn.
  std::unique_ptr<JournalCopier> copier_;
  int64_t batch_records_ = kBatchRecordsMin;
  int64_t retry_ns_ = kRetryMinNs;
  std::optional<int64_t> durable_at_ns_;  // the last time
  uint64_t sweep_behind_ = 0;             // once this record is applied

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  FollowerStatus status_;
  int64_t level_at_ns_ = 0;
  Pace pace_ = Pace::kPressed;  // whose turn it is
  bool asked_ = false;          // somebody waits
  bool stopping_ = false;
  std::thread pressed_;
  std::thread patient_;
};

}  // namespace sluice::store
