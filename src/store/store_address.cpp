#include "store/store_address.h"

#include "store/migrations.h"
#include "store/postgres/postgres_database.h"
#include "store/sqlite/sqlite_database.h"

namespace sluice::store {
namespace {

constexpr std::string_view kSqlitePrefix = "sqlite:";
constexpr std::string_view kPostgresPrefixes[] = {"postgresql://", "postgres://"};

core::Result<std::unique_ptr<Database>> connect(const StoreAddress& address, OpenFor use) {
  if (address.kind == StoreAddress::Kind::kPostgres) return open_postgres(address.place);
  return open_sqlite(address.place,
                     use == OpenFor::kService ? WhereMissing::kCreate : WhereMissing::kFail);
}

}  // namespace

core::Result<StoreAddress> parse_store_address(std::string_view text) {
  if (text.starts_with(kSqlitePrefix) && text.size() > kSqlitePrefix.size())
    return StoreAddress{StoreAddress::Kind::kSqlite,
                        std::string(text.substr(kSqlitePrefix.size()))};
  for (const std::string_view prefix : kPostgresPrefixes) {
    if (text.starts_with(prefix))
      return StoreAddress{StoreAddress::Kind::kPostgres, std::string(text)};
  }
  return core::invalid(
      "store '{}': 'sqlite:PATH' or 'postgresql://user@host/database' was expected",
      text.substr(0, text.find(':')));
}

StoreAddress embedded_store(const std::string& data_folder) {
  return {StoreAddress::Kind::kSqlite, data_folder + "/store.db"};
}

std::string to_text(const StoreAddress& address) {
  if (address.kind == StoreAddress::Kind::kSqlite)
    return fmt::format("{}{}", kSqlitePrefix, address.place);
  const size_t user = address.place.find("://") + 3;
  const size_t at = address.place.find('@', user);
  const size_t colon = address.place.find(':', user);
  const size_t query = address.place.find('?');
  std::string shown = address.place.substr(0, query);
  if (at != std::string::npos && colon < at) shown.erase(colon, at - colon);
  return shown;
}

core::Result<std::unique_ptr<Database>> open_database(const StoreAddress& address, OpenFor use) {
  auto database = connect(address, use);
  if (!database.ok()) return database.error().within(to_text(address));
  const auto ready =
      use == OpenFor::kService ? migrate(database->get()) : check_schema(database->get());
  if (!ready.ok()) return ready.error().within(to_text(address));
  return database;
}

}  // namespace sluice::store
