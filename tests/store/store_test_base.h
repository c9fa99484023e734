// The suites of this folder run once on each store.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "core/clock.h"
#include "core/log.h"
#include "ledger/ledger.h"
#include "store/journal.h"
#include "store/store.h"
#include "store/store_address.h"
#include "tests/store/postgres_server.h"

namespace sluice::store {

// A folder below the system's for temporary files that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A new store for each test. The PostgreSQL server is one for the whole program.
class OnEachStore : public testing::TestWithParam<StoreAddress::Kind> {
 protected:
  void SetUp() override { take_new_store(); }
  void take_new_store();  // in place of the one before

  bool is_postgres() const { return GetParam() == StoreAddress::Kind::kPostgres; }
  const StoreAddress& address() const { return address_; }
  const std::string& folder() const { return folder_.path(); }
  std::string journal_folder() const { return folder() + "/journal"; }
  PostgresServer& server();

  std::unique_ptr<Database> database(OpenFor use = OpenFor::kService);
  std::unique_ptr<Journal> open_journal(int64_t segment_bytes = 4 << 20);

  core::SystemClock clock_;
  core::Logger log_{core::LogLevel::kError};

 private:
  TemporaryFolder folder_;
  StoreAddress address_;
  int stores_ = 0;
};

// What the store claims, for ledger::prove().
ledger::Books books_of(Store* store);

std::string store_name(const testing::TestParamInfo<StoreAddress::Kind>& info);

#define ON_EACH_STORE(suite)                                                                      \
  INSTANTIATE_TEST_SUITE_P(                                                                       \
      Stores, suite, testing::Values(StoreAddress::Kind::kSqlite, StoreAddress::Kind::kPostgres), \
      store_name)

}  // namespace sluice::store
