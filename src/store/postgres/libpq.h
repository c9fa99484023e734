// libpq, opened when the first PostgreSQL store is: the binary starts where it is not installed.
// Only .cpp files of this folder include it.
#pragma once

#include <postgresql/libpq-fe.h>

#include "core/result.h"

namespace sluice::store {

// The functions that we call, under their names without PQ.
struct Libpq {
  decltype(&::PQconnectdbParams) connectdb_params;
  decltype(&::PQstatus) status;
  decltype(&::PQfinish) finish;
  decltype(&::PQerrorMessage) error_message;
  decltype(&::PQsetNoticeProcessor) set_notice_processor;
  decltype(&::PQexecParams) exec_params;
  decltype(&::PQsendQueryParams) send_query_params;
  decltype(&::PQsetSingleRowMode) set_single_row_mode;
  decltype(&::PQgetResult) get_result;
  decltype(&::PQresultStatus) result_status;
  decltype(&::PQresultErrorField) result_error_field;
  decltype(&::PQresultErrorMessage) result_error_message;
  decltype(&::PQcmdTuples) cmd_tuples;
  decltype(&::PQntuples) ntuples;
  decltype(&::PQgetvalue) getvalue;
  decltype(&::PQgetlength) getlength;
  decltype(&::PQclear) clear;
  decltype(&::PQputCopyData) put_copy_data;
  decltype(&::PQputCopyEnd) put_copy_end;
};

// Stays open until the process ends. kUnsupported, with what to install, where it is missing.
core::Result<Libpq> open_libpq();

}  // namespace sluice::store
