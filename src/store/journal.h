// The journal of one gateway: a folder of preallocated, mapped files to which records are copied.
//
// What append() has taken survives kill -9 (it is in the kernel's pages) and, after at most
// kFlushIntervalNs, a power loss. A record is 56 bytes of head (store/journal_format.h), the
// canonical bytes of contract/record_codec.h, and their SHA-256: over kind, version, gateway and
// bytes, each record for itself. Not chained: so that it is computed before the lock, and since a
// chain proves nothing against somebody who could write it anew; order and completeness come from
// the sequence, which has no gaps.
//
// An appending thread encodes and hashes on its own, then holds a mutex for one copy. No system
// call, unless a segment is full and the flusher has not prepared its successor yet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "contract/usage_event.h"
#include "core/clock.h"
#include "core/result.h"

namespace sluice::store {

struct JournalOptions {
  std::string folder;  // made where it is missing, with mode 0700
  int64_t segment_bytes = 64 << 20;
  uint64_t gateway_if_new = 0;  // the id that a new folder gets: 64 random bits, not 0
};

// What open() found.
struct Recovery {
  uint64_t records = 0;        // in the folder
  uint64_t last_sequence = 0;  // 0: none yet
  bool torn = false;           // a record at the end was not whole and has been cut off
};

class Journal final : public contract::RecordSink {
 public:
  static constexpr int64_t kFlushIntervalNs = 50'000'000;

  // Reads what is there, cuts a torn end off, and starts a new segment. kInvalid with file and
  // offset where what had been durable is damaged or missing, kIo for a full disk, kLimit where
  // somebody has the folder open. The clock dates segments and paces what is tried again.
  static core::Result<std::unique_ptr<Journal>> open(JournalOptions options,
                                                     const core::Clock* clock);
  ~Journal() override;  // makes everything durable

  [[nodiscard]] bool append(const contract::Reservation& reservation) override;
  [[nodiscard]] bool append(const contract::UsageEvent& event) override;
  [[nodiscard]] bool append(const contract::ChangeRecord& change) override;
  [[nodiscard]] bool append(const contract::BalanceChange& change) override;

  uint64_t gateway() const;
  uint64_t start() const;  // of this folder, the last one's plus 1 or more: contract::RequestIds
  const Recovery& recovery() const;
  uint64_t last_sequence() const;
  int64_t bytes() const;  // of its files

  // Waits for the disk: what was appended before the call is durable after it, and JournalReader
  // gives it.
  core::Result<void> flush();

  // Why append() returns false; "" while all is well. After a full disk it goes on as soon as there
  // is room again, after a write error it does not.
  std::string trouble() const;

  // Deletes the segments that hold no record after `sequence`: the store has them.
  core::Result<void> remove_applied(uint64_t sequence);

 private:
  struct Impl;
  explicit Journal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::store
