// The lists of a snapshot by kind, for code that does the same with each.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "contract/permission.h"
#include "contract/snapshot.h"

namespace sluice::gateway {

template <typename Object>
std::string id_of(const Object& object) {
  return object.id;
}
inline std::string id_of(const contract::Price& price) {
  return fmt::format("{}", price.version);
}

// Calls visit(kind, list) for each list; Snapshot may be const.
template <typename Snapshot, typename Visitor>
void for_each_list(Snapshot& snapshot, const Visitor& visit) {
  using contract::ObjectKind;
  visit(ObjectKind::kTenant, snapshot.tenants);
  visit(ObjectKind::kProject, snapshot.projects);
  visit(ObjectKind::kKey, snapshot.keys);
  visit(ObjectKind::kPool, snapshot.pools);
  visit(ObjectKind::kReplica, snapshot.replicas);
  visit(ObjectKind::kModel, snapshot.models);
  visit(ObjectKind::kPrice, snapshot.prices);
}

// The object of that id, or null. List may be const.
template <typename List>
auto* find_object(List& list, std::string_view id) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const auto& o) { return id_of(o) == id; });
  return found == list.end() ? nullptr : &*found;
}

// "tenant", "key", …: of object names and change records.
std::string_view kind_name(contract::ObjectKind kind);
// "tenants", "keys", …: of paths and actions.
std::string_view collection_name(contract::ObjectKind kind);
// "key/key_1f…"; the kind alone for the whole of it.
std::string object_name(contract::ObjectKind kind, std::string_view id);

// Lower-case hexadecimal digits.
std::string sha256_hex(std::string_view text);

}  // namespace sluice::gateway
