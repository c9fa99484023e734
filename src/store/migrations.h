// The schema, forward only. Each migration is one text for both databases; its version is its place
// in the list. Released ones are never changed: a change is a new one at the end.
#pragma once

#include <cstdint>

#include "core/result.h"
#include "store/database.h"

namespace sluice::store {

// The version that this build reads and writes.
int64_t schema_version();

// Brings the database to schema_version(), in one transaction. kUnsupported where the database is
// newer than this build.
core::Result<void> migrate(Database* database);

// kNotFound where the database is no store, kUnsupported where its version is not this build's.
core::Result<void> check_schema(Database* database);

}  // namespace sluice::store
