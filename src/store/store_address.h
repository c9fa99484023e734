// Where a store is, as one text: "sqlite:PATH" or "postgresql://user@host/database".
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "store/database.h"

namespace sluice::store {

struct StoreAddress {
  enum class Kind { kSqlite, kPostgres } kind = Kind::kSqlite;
  std::string place;  // the file's path, or the URL
};

core::Result<StoreAddress> parse_store_address(std::string_view text);

// The embedded store of a data folder: FOLDER/store.db.
StoreAddress embedded_store(const std::string& data_folder);

// Without a password that the URL may hold.
std::string to_text(const StoreAddress& address);

enum class OpenFor {
  kService,  // makes it where it is missing, brings its schema forward
  kReports,  // it must be there, and of this build's schema
};
core::Result<std::unique_ptr<Database>> open_database(const StoreAddress& address, OpenFor use);

}  // namespace sluice::store
