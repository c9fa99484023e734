#include "store/follower.h"

#include <time.h>

#include <algorithm>
#include <chrono>

#include "core/turns.h"
#include "ledger/ledger.h"

namespace sluice::store {
namespace {

// Not the time that passes: while others want the core, a batch of few records takes long too.
int64_t processor_time_ns() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * INT64_C(1'000'000'000) + time.tv_nsec;
}

}  // namespace

Follower::Follower(Options options, Journal* journal, const core::Clock* clock,
                   const core::Logger* log)
    : options_(std::move(options)),
      journal_(journal),
      clock_(clock),
      log_(log),
      sweep_behind_(journal->recovery().last_sequence),
      level_at_ns_(clock->now_ns()),
      pressed_([this] { run(Pace::kPressed); }),
      patient_([this] {
        core::give_way();
        run(Pace::kPatient);
      }) {}

Follower::~Follower() {
  stop();
}

FollowerStatus Follower::status() const {
  const std::lock_guard lock(mutex_);
  FollowerStatus status = status_;
  const uint64_t last = journal_->last_sequence();
  if (last > status.applied_sequence && status.store_open)
    status.lag_records = static_cast<int64_t>(last - status.applied_sequence);
  if (last > status.applied_sequence) status.lag_ns = clock_->now_ns() - level_at_ns_;
  return status;
}

bool Follower::wait_until_applied(uint64_t sequence, int64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  asked_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] {
    return status_.store_open && status_.applied_sequence >= sequence;
  });
}

bool Follower::wait_until_swept(int64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns),
                           [&] { return status_.swept; });
}

void Follower::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread* thread : {&pressed_, &patient_})
    if (thread->joinable()) thread->join();
}

void Follower::run(Pace own) {
  while (take_turn(own)) {
    const Next next = step();
    pass_turn(next);
    pause(own, next);
  }
}

bool Follower::take_turn(Pace own) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || pace_ == own; });
  return !stopping_;
}

Follower::Next Follower::step() {
  if (copier_ == nullptr) {
    auto opened = JournalCopier::open(
        options_.address, {.folder = options_.journal_folder, .gateway = journal_->gateway()});
    if (!opened.ok()) return failed(opened.error());
    copier_ = std::move(opened).value();
  }
  const int64_t now_ns = clock_->now_ns();
  const bool due = !durable_at_ns_ || now_ns - *durable_at_ns_ >= kDurableIntervalNs;
  const int64_t began_ns = processor_time_ns();
  const auto batch = copier_->copy(batch_records_, due ? Commit::kDurable : Commit::kLater);
  if (!batch.ok()) return failed(batch.error());
  if (due) durable_at_ns_ = now_ns;
  const bool full = batch->records == batch_records_;
  adapt(processor_time_ns() - began_ns, full);
  record(*batch);
  if (const auto removed = journal_->remove_applied(batch->durable_sequence); !removed.ok())
    log_->warning("journal: {}", removed.error().message);
  if (const auto swept = sweep(); !swept.ok()) return failed(swept.error());
  return full ? Next::kAtOnce : Next::kAfterPoll;
}

Follower::Next Follower::failed(const core::Error& error) {
  copier_ = nullptr;
  durable_at_ns_.reset();
  const std::lock_guard lock(mutex_);
  if (status_.trouble != error.message)
    log_->error("store: {}; the journal keeps the records, trying again", error.message);
  status_.trouble = error.message;
  status_.store_open = false;
  ++status_.failures;
  changed_.notify_all();
  return Next::kAfterRetry;
}

void Follower::record(const CopiedBatch& batch) {
  retry_ns_ = kRetryMinNs;
  const std::lock_guard lock(mutex_);
  if (!status_.trouble.empty()) log_->info("store: {} is back", to_text(options_.address));
  status_.trouble.clear();
  status_.store_open = true;
  status_.applied_sequence = batch.applied_sequence;
  status_.events += batch.written.events;
  status_.duplicates += batch.written.duplicates;
  if (batch.records < batch_records_) level_at_ns_ = clock_->now_ns();
  changed_.notify_all();
}

core::Result<void> Follower::sweep() {
  {
    const std::lock_guard lock(mutex_);
    if (status_.swept || status_.applied_sequence < sweep_behind_) return {};
  }
  const auto left = TRY(copier_->left_open_before(journal_->start()));
  if (left.empty()) {
    core::take_small_share();  // until now others waited: what limits start from
    const std::lock_guard lock(mutex_);
    status_.swept = true;
    pace_ = Pace::kPatient;
    changed_.notify_all();
    return {};
  }
  log_->warning("{} requests of an earlier start have no event: given back", left.size());
  for (const contract::Reservation& reservation : left) {
    if (!journal_->append(ledger::lost_event(reservation, clock_->unix_ns()))) break;
  }
  // It looks again when these are in the store.
  sweep_behind_ = journal_->last_sequence();
  return {};
}

// To the thread with a share where the store is far behind, back when it is level.
void Follower::pass_turn(Next next) {
  const std::lock_guard lock(mutex_);
  if (!status_.swept) return;
  const Pace before = pace_;
  if (before == Pace::kPressed) ++status_.pressed;
  if (clock_->now_ns() - level_at_ns_ > kFarBehindNs)
    pace_ = Pace::kPressed;
  else if (next != Next::kAtOnce)
    pace_ = Pace::kPatient;
  if (pace_ == before) return;
  if (pace_ == Pace::kPressed)
    log_->warning("store: a minute behind the journal; its writer takes a share of a core");
  changed_.notify_all();
}

void Follower::adapt(int64_t took_ns, bool full) {
  if (took_ns > kBatchTargetNs) {
    batch_records_ = std::max(batch_records_ / 2, kBatchRecordsMin);
  } else if (full && took_ns < kBatchTargetNs / 2) {
    batch_records_ = std::min(batch_records_ * 2, kBatchRecordsMax);
  }
}

void Follower::pause(Pace own, Next next) {
  const int64_t pause_ns = next == Next::kAtOnce      ? 0
                           : next == Next::kAfterPoll ? kPollIntervalNs
                                                      : retry_ns_;
  if (next == Next::kAfterRetry) retry_ns_ = std::min(2 * retry_ns_, kRetryMaxNs);
  std::unique_lock lock(mutex_);
  if (pace_ != own) return;
  changed_.wait_for(lock, std::chrono::nanoseconds(pause_ns),
                    [&] { return stopping_ || (asked_ && next == Next::kAfterPoll); });
  asked_ = false;
}

}  // namespace sluice::store
