#include "gateway/admin/snapshot_keeper.h"

#include <algorithm>

#include "contract/snapshot_json.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::gateway {
namespace {

using contract::Action;
using contract::ObjectKind;
using contract::Snapshot;

ChangeError invalid(contract::Problems problems) {
  std::string message = contract::to_text(problems);
  return {ChangeError::Code::kInvalid, std::move(message), std::move(problems)};
}

// Canonical JSON; "" where there is no such object.
std::string object_json(const Snapshot& snapshot, ObjectKind kind, std::string_view id) {
  std::string json;
  for_each_list(snapshot, [&](ObjectKind list_kind, const auto& list) {
    if (list_kind != kind) return;
    if (const auto* object = find_object(list, id)) json = contract::to_json(*object);
  });
  return json;
}

std::string hash_or_nothing(const std::string& json) {
  return json.empty() ? "" : sha256_hex(json);
}

// Usage lines name the version of a price for ever: what it says never changes, also where it was
// deleted meanwhile. `known`: in force, or formerly.
void check_prices(const std::vector<contract::Price>& known, const Snapshot& after,
                  contract::Problems* problems) {
  for (size_t i = 0; i < after.prices.size(); ++i) {
    const auto* old = find_object(known, id_of(after.prices[i]));
    if (old != nullptr && !(*old == after.prices[i]))
      problems->push_back({fmt::format("prices[{}]", i),
                           fmt::format("version {} has been in force and says something else; a "
                                       "change of price is a new version",
                                       old->version)});
  }
}

constexpr contract::Actor kConfigFile = {
    .kind = contract::Actor::Kind::kConfigFile, .id = "config-file", .tenant = ""};

constexpr std::string_view verb_of(Action action) {
  return action == Action::kCreate ? "create" : action == Action::kUpdate ? "update" : "delete";
}

// Merges what the configuration file says into one list of the snapshot.
class FileMerge {
 public:
  FileMerge(const std::set<std::string>& owned_before, Snapshot* snapshot)
      : owned_before_(owned_before), snapshot_(snapshot) {}

  void run(const Snapshot& from_file) {
    for_each_list(from_file, [&](ObjectKind kind, const auto& wanted) {
      for_each_list(*snapshot_, [&](ObjectKind list_kind, auto& list) {
        if constexpr (std::is_same_v<std::decay_t<decltype(list)>, std::decay_t<decltype(wanted)>>)
          if (list_kind == kind) merge(kind, wanted, &list);
      });
    });
  }

  contract::Problems problems;
  std::set<std::string> owned;
  struct Touched {
    ObjectKind kind;
    std::string id;
    Action action;
  };
  std::vector<Touched> touched;

 private:
  void touch(ObjectKind kind, std::string id, Action action) {
    if (!contract::authorize(kConfigFile, action, kind, ""))
      problems.push_back({object_name(kind, id),
                          fmt::format("a configuration file may not {} this", verb_of(action))});
    touched.push_back({kind, std::move(id), action});
  }

  template <typename List>
  void merge(ObjectKind kind, const List& wanted, List* list) {
    List merged;
    for (auto& object : *list) {
      const std::string id = id_of(object);
      const bool was_owned = owned_before_.contains(object_name(kind, id));
      const auto* said = find_object(wanted, id);
      if (was_owned && said == nullptr) {
        touch(kind, id, Action::kDelete);
        continue;
      }
      if (!was_owned && said != nullptr)
        problems.push_back({fmt::format("{} '{}'", collection_name(kind), id),
                            "was made through the API; take it out of the file, or delete it there "
                            "first"});
      if (was_owned) {
        auto replacement = *said;
        keep_revoked(object, &replacement);
        if (!(replacement == object)) touch(kind, id, Action::kUpdate);
        object = std::move(replacement);
      }
      merged.push_back(std::move(object));
    }
    for (const auto& object : wanted) {
      const std::string id = id_of(object);
      owned.insert(object_name(kind, id));
      if (find_object(merged, id) != nullptr) continue;
      touch(kind, id, Action::kCreate);
      merged.push_back(object);
    }
    *list = std::move(merged);
  }

  template <typename Object>
  static void keep_revoked(const Object&, Object*) {}
  static void keep_revoked(const contract::Key& before, contract::Key* after) {
    after->revoked = after->revoked || before.revoked;
  }

  const std::set<std::string>& owned_before_;
  Snapshot* snapshot_;
};

}  // namespace

struct SnapshotKeeper::Edited {
  Snapshot snapshot;
  std::set<std::string> file_owned;
  std::vector<contract::ChangeRecord> records;  // without generation and time
  std::set<ObjectKind> kinds;
};

SnapshotKeeper::SnapshotKeeper(KeeperOptions options, SnapshotFile first)
    : options_(std::move(options)),
      file_owned_(std::move(first.file_owned)),
      former_prices_(std::move(first.former_prices)),
      first_generation_(first.snapshot.generation) {
  publish(std::move(first.snapshot));
}

std::shared_ptr<const Directory> SnapshotKeeper::directory() const {
  std::lock_guard lock(mutex_);
  return current_;
}

void SnapshotKeeper::subscribe(Subscriber subscriber) {
  subscriber(current_);
  subscribers_.push_back(std::move(subscriber));
}

void SnapshotKeeper::publish(Snapshot snapshot) {
  auto next = Directory::compile(std::move(snapshot), options_.hash_key_ids);
  {
    std::lock_guard lock(mutex_);
    current_ = std::move(next);
  }
  for (const Subscriber& subscriber : subscribers_) subscriber(current_);
}

void SnapshotKeeper::keep_former_prices(const Snapshot& next) {
  for (const contract::Price& price : snapshot().prices)
    if (find_object(next.prices, id_of(price)) == nullptr &&
        find_object(former_prices_, id_of(price)) == nullptr)
      former_prices_.push_back(price);
}

core::Result<void, ChangeError> SnapshotKeeper::put_in_force(Edited edited) {
  contract::Problems problems = contract::validate(edited.snapshot);
  check_prices(snapshot().prices, edited.snapshot, &problems);
  check_prices(former_prices_, edited.snapshot, &problems);
  if (!problems.empty()) return invalid(std::move(problems));

  edited.snapshot.generation = snapshot().generation + 1;
  for (contract::ChangeRecord& record : edited.records) {
    record.generation = edited.snapshot.generation;
    record.unix_ns = options_.clock.unix_ns();
    if (!options_.records.append(record))
      return ChangeError{
          ChangeError::Code::kNotRecorded,
          "the journal takes no record of it, nothing has changed; is its disk full?"};
  }
  for (const ObjectKind kind : edited.kinds) changed_in_[kind] = edited.snapshot.generation;
  file_owned_ = std::move(edited.file_owned);
  keep_former_prices(edited.snapshot);
  publish(std::move(edited.snapshot));
  for (contract::ChangeRecord& record : edited.records) changes_.push_back(std::move(record));
  while (changes_.size() > kChangesKept) changes_.pop_front();
  if (on_change_) on_change_();

  if (options_.keep_also)
    if (const auto kept = options_.keep_also(snapshot()); !kept.ok())
      options_.log.warning("generation {} is not in the store yet: {}", snapshot().generation,
                           kept.error().message);
  if (const auto written =
          write_snapshot_file(options_.path, {snapshot(), file_owned_, former_prices_});
      !written.ok())
    return ChangeError{
        ChangeError::Code::kNotPersisted,
        "the change is in force, but would be lost at a restart: " + written.error().message};
  return {};
}

core::Result<void, ChangeError> SnapshotKeeper::apply(const Change& change) {
  Edited edited{snapshot(), file_owned_, {}, {change.kind}};
  if (const auto done = change.edit(&edited.snapshot); !done.ok()) return done.error();
  const std::string before = object_json(snapshot(), change.kind, change.id);
  const std::string after = object_json(edited.snapshot, change.kind, change.id);
  if (before == after) return {};
  edited.records.push_back({.actor = change.actor,
                            .action = change.action,
                            .object = object_name(change.kind, change.id),
                            .hash_before = hash_or_nothing(before),
                            .hash_after = hash_or_nothing(after)});
  return put_in_force(std::move(edited));
}

core::Result<void, ChangeError> SnapshotKeeper::replace(std::string_view actor, Snapshot whole,
                                                        int64_t expected_generation) {
  if (expected_generation != snapshot().generation)
    return ChangeError{ChangeError::Code::kConflict,
                       fmt::format("generation {} is in force, not {}", snapshot().generation,
                                   expected_generation)};
  Edited edited{std::move(whole), {}, {}, {ObjectKind::kSnapshot}};
  edited.snapshot.generation = snapshot().generation;
  const std::string before = contract::to_json(snapshot());
  const std::string after = contract::to_json(edited.snapshot);
  if (before == after) return {};
  for_each_list(edited.snapshot, [&](ObjectKind kind, const auto& list) {
    edited.kinds.insert(kind);
    for (const auto& object : list)
      if (std::string name = object_name(kind, id_of(object)); file_owned_.contains(name))
        edited.file_owned.insert(std::move(name));
  });
  edited.records.push_back({.actor = std::string(actor),
                            .action = "snapshot.update",
                            .object = "snapshot",
                            .hash_before = sha256_hex(before),
                            .hash_after = sha256_hex(after)});
  return put_in_force(std::move(edited));
}

core::Result<void, ChangeError> SnapshotKeeper::apply_file(const Snapshot& from_file) {
  Edited edited{snapshot(), {}, {}, {}};
  FileMerge merge(file_owned_, &edited.snapshot);
  merge.run(from_file);
  if (!merge.problems.empty()) return invalid(std::move(merge.problems));
  if (merge.touched.empty() && merge.owned == file_owned_) return {};
  edited.file_owned = std::move(merge.owned);
  for (const auto& [kind, id, action] : merge.touched) {
    edited.kinds.insert(kind);
    edited.records.push_back(
        {.actor = std::string(kConfigFile.id),
         .action = fmt::format("{}.{}", collection_name(kind), verb_of(action)),
         .object = object_name(kind, id),
         .hash_before = hash_or_nothing(object_json(snapshot(), kind, id)),
         .hash_after = hash_or_nothing(object_json(edited.snapshot, kind, id))});
  }
  return put_in_force(std::move(edited));
}

bool SnapshotKeeper::owned_by_file(ObjectKind kind, std::string_view id) const {
  return file_owned_.contains(object_name(kind, id));
}

int64_t SnapshotKeeper::changed_in(ObjectKind kind) const {
  const auto found = changed_in_.find(kind);
  return found == changed_in_.end() ? first_generation_ : found->second;
}

}  // namespace sluice::gateway
