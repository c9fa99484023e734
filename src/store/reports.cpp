#include "store/reports.h"

#include <charconv>
#include <chrono>
#include <optional>

#include "contract/request_id.h"
#include "store/event_rows.h"

namespace sluice::store {
namespace {

constexpr std::string_view kGroupColumns[] = {  // by UsageGroup
    "tenants.name", "projects.name", "keys.name", "models.name", "day"};

// Of the groups' columns, the sums.
constexpr std::string_view kUsage = R"(
SELECT {0} COALESCE(SUM(requests), 0), COALESCE(SUM(refused), 0), COALESCE(SUM(failed), 0),
       COALESCE(SUM(missed), 0), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(cached_tokens), 0),
       COALESCE(SUM(output_tokens), 0), COALESCE(SUM(reasoning_tokens), 0),
       COALESCE(SUM(compute_us), 0), COALESCE(SUM(amount), 0), COALESCE(SUM(cost), 0)
FROM usage_days JOIN names AS tenants ON tenants.number = tenant
     JOIN names AS projects ON projects.number = project
     JOIN names AS keys ON keys.number = access_key JOIN names AS models ON models.number = model
WHERE day >= $1 AND day <= $2 AND ($3 = '' OR tenants.name = $3) AND ($4 = '' OR projects.name = $4)
      AND ($5 = '' OR keys.name = $5) AND ($6 = '' OR models.name = $6) {1})";

std::string usage_query(const UsageQuery& query) {
  std::string columns;
  std::string grouping;
  for (const UsageGroup group : query.group_by) {
    const std::string_view shown = kGroupColumns[static_cast<size_t>(group)];
    columns += fmt::format("{}, ", shown);
    grouping += fmt::format("{}{}", grouping.empty() ? "" : ", ", shown);
  }
  if (!grouping.empty()) grouping = fmt::format("GROUP BY {0} ORDER BY {0}", grouping);
  return fmt::format(kUsage, columns, grouping);
}

UsageTotals totals_in(const Row& row, int at) {
  return {.requests = row.number(at),
          .refused = row.number(at + 1),
          .failed = row.number(at + 2),
          .missed = row.number(at + 3),
          .prompt_tokens = row.number(at + 4),
          .cached_tokens = row.number(at + 5),
          .output_tokens = row.number(at + 6),
          .reasoning_tokens = row.number(at + 7),
          .compute_us = row.number(at + 8),
          .amount = {row.number(at + 9)},
          .cost = {row.number(at + 10)}};
}

UsageRow usage_row(const Row& row, const std::vector<UsageGroup>& group_by) {
  UsageRow usage;
  int column = 0;
  for (const UsageGroup group : group_by) {
    usage.group.push_back(group == UsageGroup::kDay ? day_text(row.number(column))
                                                    : std::string(row.text(column)));
    ++column;
  }
  usage.totals = totals_in(row, column);
  return usage;
}

bool parse_digits(std::string_view digits, int* value) {
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
  return parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
}

}  // namespace

core::Result<std::vector<UsageRow>> usage(Database* database, const UsageQuery& query) {
  std::vector<UsageRow> rows;
  TRY(database->query(
      usage_query(query),
      {query.first_day, query.last_day, query.tenant, query.project, query.key, query.model},
      [&](const Row& row) { rows.push_back(usage_row(row, query.group_by)); }));
  return rows;
}

core::Result<std::optional<contract::UsageEvent>> event_of(Database* database,
                                                           contract::RequestId id) {
  std::vector<contract::UsageEvent> found = TRY(events_of(database, {&id, 1}));
  if (found.empty()) return std::optional<contract::UsageEvent>();
  return std::optional(std::move(found.front()));
}

core::Result<std::vector<contract::UsageEvent>> events_of(
    Database* database, std::span<const contract::RequestId> ids) {
  std::vector<contract::UsageEvent> found;
  if (ids.empty()) return found;
  const contract::RequestId first = ids.front();
  int64_t start = 0;
  TRY(database->query(
      "SELECT number FROM starts WHERE gateway = $1 AND start = $2",
      {static_cast<int64_t>(first.gateway), static_cast<int64_t>(contract::start_of(first))},
      [&](const Row& row) { start = row.number(0); }));
  if (start == 0) return found;
  constexpr uint64_t kCountMask = (uint64_t{1} << contract::kRequestCountBits) - 1;
  constexpr size_t kAskedAtOnce = 1000;
  for (; !ids.empty(); ids = ids.subspan(std::min(ids.size(), kAskedAtOnce))) {
    std::string numbers;
    for (const contract::RequestId id : ids.first(std::min(ids.size(), kAskedAtOnce))) {
      if (!numbers.empty()) numbers += ',';
      numbers += std::to_string(start << contract::kRequestCountBits |
                                static_cast<int64_t>(id.sequence & kCountMask));
    }
    TRY(for_each_event(database, fmt::format("WHERE events.request IN ({})", numbers), {},
                       [&](const contract::UsageEvent& event) { found.push_back(event); }));
  }
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
