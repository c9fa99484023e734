// Reads a journal's records in order, while they are being appended (by this process or another).
//
// It gives durable records only: a database that follows can never be ahead of what the journal
// still has after a power loss, so a sequence number means one record for ever.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "contract/record_codec.h"
#include "contract/usage_event.h"
#include "core/result.h"
#include "store/journal_format.h"
#include "store/segment.h"

namespace sluice::store {

struct JournalRecord {
  uint64_t gateway = 0;
  uint64_t sequence = 0;  // 1, 2, 3, … of this gateway, without gaps
  contract::RecordKind kind = contract::RecordKind::kUsage;
  uint8_t version = 0;
  Sha256 sha256 = {};  // has been compared with the bytes
  std::span<const std::byte>
      bytes;  // contract::decode(kind, version, bytes); until the next next()
};

class JournalReader {
 public:
  // Begins behind the record `after_sequence`; 0: at the oldest that is there. kNotFound where the
  // folder has no journal, kInvalid where the records up to it have been deleted with others
  // behind.
  static core::Result<std::unique_ptr<JournalReader>> open(std::string folder,
                                                           uint64_t after_sequence);

  // The next record; nullopt: nothing more is durable now. kInvalid with file and offset where it
  // is damaged; every later call says the same.
  core::Result<std::optional<JournalRecord>> next();

  uint64_t gateway() const { return gateway_; }

 private:
  JournalReader(std::string folder, Segment segment);
  core::Result<bool> enter_next_segment();

  std::string folder_;
  RecordDigest digest_;
  Segment segment_;
  uint64_t gateway_;
  int64_t offset_ = kSegmentHeadBytes;
  uint64_t sequence_;  // of the record at offset_
};

}  // namespace sluice::store
