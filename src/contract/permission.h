// The two questions about permission, asked nowhere else. Pure functions; the answers stand in the
// change record and in the usage event.
#pragma once

#include <cstdint>
#include <string_view>

#include "contract/snapshot.h"

namespace sluice::contract {

// ---- administration -------------------------------------------------------------------------

enum class Action : uint8_t { kRead, kCreate, kUpdate, kDelete, kRotate, kRevoke, kTopUp };
enum class ObjectKind : uint8_t {
  kTenant,
  kProject,
  kKey,
  kPool,
  kReplica,
  kModel,
  kPrice,
  kUsage,
  kBalance,
  kChange,
  kSnapshot,
};

struct Actor {
  enum class Kind : uint8_t { kCommandLine, kConfigFile, kAdminKey, kKey } kind = Kind::kKey;
  std::string_view id;      // of the key
  std::string_view tenant;  // of the key
};

// One table. A key that is no admin may read its own tenant's usage and balance, nothing else.
bool authorize(const Actor& actor, Action action, ObjectKind kind, std::string_view object_tenant);

// ---- data -----------------------------------------------------------------------------------

enum class Purpose : uint8_t { kInference };

// May `owner` (of a pool; "" the platform) see data of this class for this purpose at this place?
bool may_use(std::string_view owner, DataClass data, Purpose purpose, const Pool& place);

}  // namespace sluice::contract
