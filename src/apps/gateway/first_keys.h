// The keys that `sluice up` begins with: one in a file for its owner, one for guests.
#pragma once

#include <string>

#include "core/clock.h"
#include "core/result.h"
#include "gateway/admin/snapshot_keeper.h"
#include "gateway/directory/key_hash.h"

namespace sluice::apps {

struct FirstKeys {
  std::string path;        // of the file that holds the secret, mode 0600
  std::string new_secret;  // "" where the file's was good already
  bool guests = false;     // the key of guests has not been revoked
};

// Makes what is missing. A key file that is lost, or whose key has ended, gets a new key: the owner
// of the folder may make keys anyway.
core::Result<FirstKeys> provide_first_keys(const std::string& data_folder,
                                           gateway::SnapshotKeeper& keeper,
                                           gateway::KeyHasher& hasher, const core::Clock& clock);

}  // namespace sluice::apps
