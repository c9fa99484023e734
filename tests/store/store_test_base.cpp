#include "tests/store/store_test_base.h"

#include <stdlib.h>

namespace sluice::store {
namespace {

constexpr uint64_t kGateway = 0xa1;

// Started by the first test that wants it, stopped before the program ends.
std::unique_ptr<PostgresServer>& shared_server() {
  static std::unique_ptr<PostgresServer> server;
  return server;
}

class StopServer final : public testing::Environment {
 public:
  void TearDown() override { shared_server().reset(); }
};
const testing::Environment* const kStopServer = testing::AddGlobalTestEnvironment(new StopServer);

}  // namespace

TemporaryFolder::TemporaryFolder()
    : path_((std::filesystem::temp_directory_path() / "sluice-store-XXXXXX").string()) {
  if (mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void OnEachStore::take_new_store() {
  ASSERT_NE(kStopServer, nullptr);
  if (!is_postgres()) {
    address_ = {GetParam(), fmt::format("{}/{}.db", folder(), ++stores_)};
    return;
  }
  if (shared_server() == nullptr) {
    auto started = PostgresServer::start_new();
    ASSERT_TRUE(started.ok()) << started.error().message;
    shared_server() = std::move(started).value();
  }
  auto url = server().new_database();
  ASSERT_TRUE(url.ok()) << url.error().message;
  address_ = {StoreAddress::Kind::kPostgres, *url};
}

PostgresServer& OnEachStore::server() {
  return *shared_server();
}

std::unique_ptr<Database> OnEachStore::database(OpenFor use) {
  auto opened = open_database(address_, use);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return std::move(opened).value();
}

std::unique_ptr<Journal> OnEachStore::open_journal(int64_t segment_bytes) {
  auto opened = Journal::open(
      {.folder = journal_folder(), .segment_bytes = segment_bytes, .gateway_if_new = kGateway},
      &clock_);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return std::move(opened).value();
}

ledger::Books books_of(Store* store) {
  ledger::Books books;
  const auto balances = store->balances().value();
  for (const Balance& balance : balances)
    if (balance.balance.nano != 0) books.balances[balance.account] = balance.balance;
  const auto open = store->open_reservations().value();
  for (const contract::Reservation& reservation : open)
    books.open_reservations.push_back(reservation.id);
  return books;
}

std::string store_name(const testing::TestParamInfo<StoreAddress::Kind>& info) {
  return info.param == StoreAddress::Kind::kSqlite ? "Sqlite" : "Postgres";
}

}  // namespace sluice::store
