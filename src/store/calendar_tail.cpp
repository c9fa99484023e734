#include "store/calendar_tail.h"

#include <map>
#include <string>
#include <utility>
#include <variant>

#include "contract/record_codec.h"
#include "store/journal_reader.h"
#include "store/reports.h"
#include "store/usage_totals.h"

namespace sluice::store {
namespace {

using Uses = std::map<std::pair<QuotaHolder, std::string>, CalendarUse>;

// `times`: 1, or -1 to take it away.
void add(const contract::UsageEvent& event, int64_t times, int64_t today, Uses* uses) {
  const int64_t day = day_of(event.started_unix_ns);
  if (day > today || day < first_day_of_month(today)) return;
  UsageTotals totals;
  totals.add(event);
  const std::pair<QuotaHolder, const std::string&> holders[] = {
      {QuotaHolder::kKey, event.key},
      {QuotaHolder::kProject, event.project},
      {QuotaHolder::kTenant, event.tenant},
      {QuotaHolder::kModel, event.model}};
  for (const auto& [holder, id] : holders) {
    CalendarUse& use = (*uses)[{holder, id}];
    use.holder = holder;
    use.id = id;
    const int64_t tokens = times * totals.tokens();
    const contract::NanoMoney money = {times * totals.amount.nano};
    use.month_tokens += tokens;
    use.month_money = use.month_money + money;
    if (day != today) continue;
    use.day_tokens += tokens;
    use.day_money = use.day_money + money;
  }
}

// Of what is behind `sequence`, up to the last that must be known. False: it is not durable yet, or
// behind more than kTailRecordsMax others.
core::Result<bool> add_tail(const JournalCopier::Source& journal, uint64_t sequence,
                            const TailQuery& query, Uses* uses) {
  if (sequence >= query.last_sequence) return true;
  const auto reader = TRY(JournalReader::open(journal.folder, sequence));
  for (int64_t count = 0; count < kTailRecordsMax; ++count) {
    const auto next = TRY(reader->next());
    if (!next) return false;
    if (next->kind == contract::RecordKind::kUsage) {
      const auto record = TRY(contract::decode(next->kind, next->version, next->bytes));
      const auto& event = std::get<contract::UsageEvent>(record);
      if (!query.except.contains(event.id)) add(event, 1, day_of(query.unix_ns), uses);
    }
    if (next->sequence >= query.last_sequence) return true;
  }
  return false;
}

}  // namespace

core::Result<std::optional<std::vector<CalendarUse>>> calendar_use_with_tail(
    Store* store, const JournalCopier::Source& journal, const TailQuery& query) {
  Uses uses;
  uint64_t applied_sequence = 0;
  {
    const auto one_state = TRY(Transaction::begin_read(store->database()));
    applied_sequence = TRY(store->applied_sequence(journal.gateway));
    for (CalendarUse& use : TRY(store->calendar_use(query.unix_ns))) {
      auto name = std::pair(use.holder, use.id);
      uses.emplace(std::move(name), std::move(use));
    }
    const std::vector<contract::RequestId> except(query.except.begin(), query.except.end());
    for (const contract::UsageEvent& event : TRY(events_of(store->database(), except)))
      add(event, -1, day_of(query.unix_ns), &uses);
  }
  if (!TRY(add_tail(journal, applied_sequence, query, &uses)))
    return std::optional<std::vector<CalendarUse>>();
  std::vector<CalendarUse> out;
  for (auto& [name, use] : uses) out.push_back(std::move(use));
  return std::optional(std::move(out));
}

}  // namespace sluice::store
