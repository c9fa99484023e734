// The tables that grow with every request, as the fast way in (Database::append) sees them. Every
// value is an integer: texts stand in the table `names`, requests are numbered
// (store/numbering.h). The columns are those of store/migrations.cpp, in the same order and
// width.
#pragma once

#include <span>
#include <string_view>

namespace sluice::store {

struct BulkColumn {
  std::string_view name;
  int bytes;  // 2, 4 or 8, as PostgreSQL keeps it
};

struct BulkTable {
  std::string_view name;
  std::span<const BulkColumn> columns;
};

inline constexpr BulkColumn kEventColumns[] = {
    {"request", 8},    {"parent", 8},   {"kind", 2},     {"outcome", 2},         {"decision", 2},
    {"target_met", 2}, {"status", 2},   {"tenant", 4},   {"project", 4},         {"access_key", 4},
    {"model", 4},      {"digest", 4},   {"finish", 4},   {"started_unix_ns", 8}, {"ttft_ns", 8},
    {"tpot_ns", 8},    {"total_ns", 8}, {"reserved", 8},
};
inline constexpr BulkTable kEvents = {"events", kEventColumns};

inline constexpr BulkColumn kLineColumns[] = {
    {"request", 8},      {"position", 2},     {"replica", 4}, {"pool", 4},
    {"owner", 4},        {"unit", 2},         {"side", 2},    {"quantity", 8},
    {"sale_version", 8}, {"cost_version", 8}, {"amount", 8},  {"cost", 8},
};
inline constexpr BulkTable kLines = {"lines", kLineColumns};

// Its own number is the database's.
inline constexpr BulkColumn kTransferColumns[] = {
    {"request", 8}, {"kind", 2}, {"from_account", 4}, {"to_account", 4}, {"amount", 8},
};
inline constexpr BulkTable kTransfers = {"transfers", kTransferColumns};

// Reservations without an event yet.
inline constexpr BulkColumn kReservationColumns[] = {
    {"request", 8},         {"tenant", 4}, {"access_key", 4}, {"model", 4},
    {"started_unix_ns", 8}, {"amount", 8}, {"tokens", 8},
};
inline constexpr BulkTable kReservations = {"reservations", kReservationColumns};

// What a batch adds to totals, on its way into them.
inline constexpr BulkColumn kStagedBalanceColumns[] = {{"account", 4}, {"amount", 8}};
inline constexpr BulkTable kStagedBalances = {"staged_balances", kStagedBalanceColumns};

inline constexpr BulkColumn kStagedClosedColumns[] = {{"request", 8}};
inline constexpr BulkTable kStagedClosed = {"staged_closed", kStagedClosedColumns};

inline constexpr BulkColumn kStagedDayColumns[] = {
    {"day", 4},
    {"tenant", 4},
    {"project", 4},
    {"access_key", 4},
    {"model", 4},
    {"requests", 8},
    {"refused", 8},
    {"failed", 8},
    {"missed", 8},
    {"prompt_tokens", 8},
    {"cached_tokens", 8},
    {"output_tokens", 8},
    {"reasoning_tokens", 8},
    {"compute_us", 8},
    {"amount", 8},
    {"cost", 8},
};
inline constexpr BulkTable kStagedDays = {"staged_days", kStagedDayColumns};

}  // namespace sluice::store
