#include "store/postgres/libpq.h"

#include <dlfcn.h>

namespace sluice::store {
namespace {

constexpr const char* kLibrary = "libpq.so.5";

template <typename Function>
bool find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

}  // namespace

core::Result<Libpq> open_libpq() {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return core::unsupported(
        "a PostgreSQL store needs {} (Debian: apt install libpq5), which does not open: {}",
        kLibrary, dlerror());
  }
  Libpq pq = {};
  const bool complete =
      find(library, "PQconnectdbParams", &pq.connectdb_params) &&
      find(library, "PQstatus", &pq.status) && find(library, "PQfinish", &pq.finish) &&
      find(library, "PQerrorMessage", &pq.error_message) &&
      find(library, "PQsetNoticeProcessor", &pq.set_notice_processor) &&
      find(library, "PQexecParams", &pq.exec_params) &&
      find(library, "PQsendQueryParams", &pq.send_query_params) &&
      find(library, "PQsetSingleRowMode", &pq.set_single_row_mode) &&
      find(library, "PQgetResult", &pq.get_result) &&
      find(library, "PQresultStatus", &pq.result_status) &&
      find(library, "PQresultErrorField", &pq.result_error_field) &&
      find(library, "PQresultErrorMessage", &pq.result_error_message) &&
      find(library, "PQcmdTuples", &pq.cmd_tuples) && find(library, "PQntuples", &pq.ntuples) &&
      find(library, "PQgetvalue", &pq.getvalue) && find(library, "PQgetlength", &pq.getlength) &&
      find(library, "PQclear", &pq.clear) && find(library, "PQputCopyData", &pq.put_copy_data) &&
      find(library, "PQputCopyEnd", &pq.put_copy_end);
  // Our reference is given back; RTLD_NODELETE keeps it mapped.
  dlclose(library);
  if (!complete) return core::unsupported("{} is older than PostgreSQL 9.2", kLibrary);
  return pq;
}

}  // namespace sluice::store
