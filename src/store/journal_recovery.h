// What a start of the gateway does with the segments that earlier ones left.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "store/journal.h"

namespace sluice::store {

// A segment to which nothing more is appended.
struct FinishedSegment {
  std::string path;
  uint64_t last_sequence = 0;
};

struct Recovered {
  Recovery summary;
  uint64_t gateway = 0;                   // 0: the folder is new
  uint64_t next_number = 1;               // of a segment
  std::vector<FinishedSegment> segments;  // in order
};

// Reads every record, cuts what is torn, seals and marks every segment. The caller holds the lock.
// Where it fails it has changed nothing that a second try would miss.
core::Result<Recovered> recover_journal(const std::string& folder);

}  // namespace sluice::store
