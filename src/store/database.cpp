#include "store/database.h"

namespace sluice::store {

core::Result<std::unique_ptr<Transaction>> Transaction::begin_write(Database* database) {
  TRY(database->execute(database->dialect().begin_write));
  return std::unique_ptr<Transaction>(new Transaction(database));
}

core::Result<std::unique_ptr<Transaction>> Transaction::begin_read(Database* database) {
  TRY(database->execute(database->dialect().begin_read));
  return std::unique_ptr<Transaction>(new Transaction(database));
}

Transaction::~Transaction() {
  if (database_ != nullptr) database_->rollback();
}

core::Result<void> Transaction::commit() {
  TRY(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace sluice::store
