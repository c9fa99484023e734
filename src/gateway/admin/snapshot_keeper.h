// Owns the snapshot in force. A change is: what it makes of the snapshot, validated → its record
// appended → the new generation compiled and handed to every subscriber → written to disk. All of
// it on one thread, the admin loop's; only directory() is for any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "contract/permission.h"
#include "contract/snapshot.h"
#include "contract/usage_event.h"
#include "contract/value.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"
#include "gateway/admin/snapshot_file.h"
#include "gateway/directory/directory.h"

namespace sluice::gateway {

struct KeeperOptions {
  const core::Clock& clock;
  const core::Logger& log;
  contract::RecordSink& records;
  std::string path;                       // of the snapshot file
  std::vector<std::string> hash_key_ids;  // in KeyHasher's order
  // Another place that keeps generations (the store): behind the file, its failure is only logged.
  std::function<core::Result<void>(const contract::Snapshot&)> keep_also = {};
};

// Why a change did not happen.
struct ChangeError {
  enum class Code : uint8_t {
    kInvalid,  // problems say what
    kNotFound,
    kExists,
    kConflict,      // the version is another by now
    kOwnedByFile,   // only the configuration file changes it
    kNotRecorded,   // the record could not be kept: nothing has changed
    kNotPersisted,  // in force now, but not on disk
  } code = Code::kInvalid;
  std::string message;
  contract::Problems problems = {};
};

// What was done to which object. `edit` changes the snapshot in place.
struct Change {
  std::string actor;   // ChangeRecord's
  std::string action;  // "keys.create"
  contract::ObjectKind kind = contract::ObjectKind::kSnapshot;
  std::string id;  // "" for the whole
  std::function<core::Result<void, ChangeError>(contract::Snapshot*)> edit;
};

class SnapshotKeeper {
 public:
  // Called on the keeper's thread; it posts to its own.
  using Subscriber = std::function<void(std::shared_ptr<const Directory>)>;

  SnapshotKeeper(KeeperOptions options, SnapshotFile first);

  // From any thread: what is in force.
  std::shared_ptr<const Directory> directory() const;
  const contract::Snapshot& snapshot() const { return current_->snapshot(); }
  // Handed the directory in force at once, then each new one.
  void subscribe(Subscriber subscriber);

  core::Result<void, ChangeError> apply(const Change& change);

  // The whole, in place of the one in force. generation must be that of the one in force.
  core::Result<void, ChangeError> replace(std::string_view actor, contract::Snapshot snapshot,
                                          int64_t expected_generation);

  // What the configuration file says now: objects it made before and no longer names go, those it
  // names are as it says, those made by the API stay. A key that was revoked stays revoked. An id
  // that the API has taken is an error, and then nothing changes.
  core::Result<void, ChangeError> apply_file(const contract::Snapshot& from_file);

  bool owned_by_file(contract::ObjectKind kind, std::string_view id) const;

  // The generation in which an object of this kind last changed: the one that this process began
  // with, where that was before it.
  int64_t changed_in(contract::ObjectKind kind) const;
  int64_t first_generation() const { return first_generation_; }
  // Records since the process started, newest last, at most kChangesKept.
  static constexpr size_t kChangesKept = 4096;
  const std::deque<contract::ChangeRecord>& changes() const { return changes_; }
  // Called after each change, on the keeper's thread: those who watch.
  void on_change(std::function<void()> callback) { on_change_ = std::move(callback); }

 private:
  struct Edited;
  core::Result<void, ChangeError> put_in_force(Edited edited);
  void publish(contract::Snapshot snapshot);
  void keep_former_prices(const contract::Snapshot& next);

  const KeeperOptions options_;
  std::set<std::string> file_owned_;
  std::vector<contract::Price> former_prices_;  // SnapshotFile's
  std::shared_ptr<const Directory> current_;    // the keeper's thread reads it without the lock
  mutable std::mutex mutex_;                    // around writes of current_, and reads elsewhere
  std::vector<Subscriber> subscribers_;
  std::deque<contract::ChangeRecord> changes_;
  std::map<contract::ObjectKind, int64_t> changed_in_;
  const int64_t first_generation_;
  std::function<void()> on_change_;
};

}  // namespace sluice::gateway
