// SQLite: one file with a write-ahead log beside it. A commit is on the disk when it returns.
#pragma once

#include <memory>
#include <string>

#include "store/database.h"

namespace sluice::store {

enum class WhereMissing { kCreate, kFail };

core::Result<std::unique_ptr<Database>> open_sqlite(const std::string& path, WhereMissing missing);

}  // namespace sluice::store
