// One journal, one open database: copies the next records when it is told to. Follower has the
// thread and the patience.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "contract/usage_event.h"
#include "core/result.h"
#include "store/batch_writer.h"
#include "store/journal_reader.h"
#include "store/store.h"

namespace sluice::store {

struct CopiedBatch {
  int64_t records = 0;
  uint64_t applied_sequence = 0;
  uint64_t durable_sequence = 0;  // of these, what a power loss leaves in the store
  WrittenBatch written;
};

class JournalCopier {
 public:
  // Where the journal of a gateway lies.
  struct Source {
    std::string folder;
    uint64_t gateway = 0;
  };
  static core::Result<std::unique_ptr<JournalCopier>> open(const StoreAddress& address,
                                                           const Source& source);

  // At most `records_max` of the records that are durable in the journal. With Commit::kDurable all
  // that was copied before is on the store's disk too. Of no further use after an error.
  core::Result<CopiedBatch> copy(int64_t records_max, Commit commit = Commit::kDurable);

  // Of this gateway, begun before its start `start`, without an event in the store.
  core::Result<std::vector<contract::Reservation>> left_open_before(uint64_t start);

 private:
  JournalCopier(std::unique_ptr<Store> store, std::unique_ptr<BatchWriter> writer,
                std::unique_ptr<JournalReader> reader)
      : store_(std::move(store)), writer_(std::move(writer)), reader_(std::move(reader)) {}

  std::unique_ptr<Store> store_;
  std::unique_ptr<BatchWriter> writer_;
  std::unique_ptr<JournalReader> reader_;
  std::vector<SequencedRecord> records_;
  uint64_t durable_sequence_ = 0;  // as far as this copier knows
};

}  // namespace sluice::store
