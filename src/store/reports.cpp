#include "store/reports.h"

#include <charconv>
#include <chrono>
#include <optional>

#include "contract/request_id.h"
#include "store/event_rows.h"

namespace sluice::store {
namespace {

constexpr std::string_view kSums =
    "SUM(requests), SUM(refused), SUM(failed), SUM(missed), SUM(prompt_tokens), "
    "SUM(cached_tokens), SUM(output_tokens), SUM(reasoning_tokens), SUM(compute_us), SUM(amount), "
    "SUM(cost)";

std::string usage_query(UsageBy by) {
  constexpr std::string_view kByName =
      "SELECT name, {} FROM usage_days JOIN names ON number = {} WHERE day >= $1 AND day <= $2 "
      "GROUP BY name ORDER BY name";
  switch (by) {
    case UsageBy::kKey:
      return fmt::format(kByName, kSums, "access_key");
    case UsageBy::kModel:
      return fmt::format(kByName, kSums, "model");
    case UsageBy::kTenant:
      return fmt::format(kByName, kSums, "tenant");
    case UsageBy::kDay:
      break;
  }
  return fmt::format(
      "SELECT day, {} FROM usage_days WHERE day >= $1 AND day <= $2 GROUP BY day ORDER BY day",
      kSums);
}

UsageTotals totals_in(const Row& row) {
  return {.requests = row.number(1),
          .refused = row.number(2),
          .failed = row.number(3),
          .missed = row.number(4),
          .prompt_tokens = row.number(5),
          .cached_tokens = row.number(6),
          .output_tokens = row.number(7),
          .reasoning_tokens = row.number(8),
          .compute_us = row.number(9),
          .amount = {row.number(10)},
          .cost = {row.number(11)}};
}

bool parse_digits(std::string_view digits, int* value) {
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
  return parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
}

}  // namespace

core::Result<std::vector<UsageRow>> usage(Database* database, const UsageQuery& query) {
  std::vector<UsageRow> rows;
  TRY(database->query(
      usage_query(query.by), {query.first_day, query.last_day}, [&](const Row& row) {
        rows.push_back(
            {query.by == UsageBy::kDay ? day_text(row.number(0)) : std::string(row.text(0)),
             totals_in(row)});
      }));
  return rows;
}

core::Result<std::optional<contract::UsageEvent>> event_of(Database* database,
                                                           contract::RequestId id) {
  int64_t start = 0;
  TRY(database->query(
      "SELECT number FROM starts WHERE gateway = $1 AND start = $2",
      {static_cast<int64_t>(id.gateway), static_cast<int64_t>(contract::start_of(id))},
      [&](const Row& row) { start = row.number(0); }));
  std::optional<contract::UsageEvent> found;
  if (start == 0) return found;
  constexpr uint64_t kCountMask = (uint64_t{1} << contract::kRequestCountBits) - 1;
  const int64_t request =
      start << contract::kRequestCountBits | static_cast<int64_t>(id.sequence & kCountMask);
  TRY(for_each_event(database, "WHERE events.request = $1", {request},
                     [&](const contract::UsageEvent& event) { found = event; }));
  return found;
}

std::string day_text(int64_t day) {
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

core::Result<int64_t> parse_day(std::string_view text) {
  int year = 0, month = 0, day = 0;
  if (text.size() == 10 && text[4] == '-' && text[7] == '-' &&
      parse_digits(text.substr(0, 4), &year) && parse_digits(text.substr(5, 2), &month) &&
      parse_digits(text.substr(8, 2), &day)) {
    const auto date = std::chrono::year(year) / month / day;
    if (date.ok()) return std::chrono::sys_days(date).time_since_epoch().count();
  }
  return core::invalid("'{}' is no day: YYYY-MM-DD was expected", text);
}

}  // namespace sluice::store
