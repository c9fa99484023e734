// Where the snapshot lies when the process ends: a gateway starts from it, also without its store.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "contract/snapshot.h"
#include "core/result.h"

namespace sluice::gateway {

struct SnapshotFile {
  contract::Snapshot snapshot;
  std::set<std::string> file_owned;  // object_name()s that the configuration file made
  // That were in force and are no longer: usage lines name their versions for ever.
  std::vector<contract::Price> former_prices = {};
};

// nullopt where there is no such file; an Error where it cannot be read or is broken.
core::Result<std::optional<SnapshotFile>> read_snapshot_file(const std::string& path);

// Written beside it, flushed to disk and renamed: a crash leaves the old file or the new one. Only
// the owner may read it.
core::Result<void> write_snapshot_file(const std::string& path, const SnapshotFile& file);

// The same for any text.
core::Result<void> write_file_atomically(const std::string& path, std::string_view text);

}  // namespace sluice::gateway
