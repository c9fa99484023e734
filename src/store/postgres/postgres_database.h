// PostgreSQL (15) through libpq; rows go in by binary COPY.
#pragma once

#include <memory>
#include <string>

#include "store/database.h"

namespace sluice::store {

// `url` as libpq takes it: "postgresql://user@host/database", also with host=/socket/folder.
core::Result<std::unique_ptr<Database>> open_postgres(const std::string& url);

}  // namespace sluice::store
