// A snapshot for tests of limits.
#pragma once

#include "contract/snapshot.h"

namespace sluice::gateway {

// One key of one project of one tenant, and one model.
inline contract::Snapshot one_key() {
  contract::Snapshot snapshot;
  snapshot.tenants.resize(1);
  snapshot.tenants[0].id = "acme";
  snapshot.projects.resize(1);
  snapshot.projects[0].id = "web";
  snapshot.projects[0].tenant = "acme";
  snapshot.keys.resize(1);
  snapshot.keys[0].id = "key_1";
  snapshot.keys[0].project = "web";
  snapshot.models.resize(1);
  snapshot.models[0].id = "smol";
  return snapshot;
}

}  // namespace sluice::gateway
