#include "apps/gateway/restore_limits.h"

#include <map>
#include <optional>

#include "store/calendar_tail.h"

namespace sluice::apps {
namespace {

using gateway::Dimension;
using gateway::LimitName;
using gateway::LimitObject;

LimitObject object_of(store::QuotaHolder holder) {
  switch (holder) {
    case store::QuotaHolder::kKey:
      return LimitObject::kKey;
    case store::QuotaHolder::kProject:
      return LimitObject::kProject;
    case store::QuotaHolder::kTenant:
      return LimitObject::kTenant;
    case store::QuotaHolder::kModel:
      return LimitObject::kModel;
  }
  ASSERT(false, "holder {}", static_cast<int>(holder));
}

using Amounts = std::map<LimitName, int64_t>;

void add_use(const store::CalendarUse& use, Amounts* amounts) {
  const auto set = [&](Dimension dimension, int64_t amount) {
    (*amounts)[{object_of(use.holder), use.id, dimension}] = amount;
  };
  set(Dimension::kTokensPerDay, use.day_tokens);
  set(Dimension::kTokensPerMonth, use.month_tokens);
  set(Dimension::kMoneyPerDay, use.day_money.nano);
  set(Dimension::kMoneyPerMonth, use.month_money.nano);
}

// Of most names the records know nothing: nothing was used.
void restore_known(const Amounts& known, const std::vector<LimitName>& names, int64_t unix_ns,
                   gateway::LimitTable* limits) {
  std::vector<gateway::RecordedAmount> amounts;
  for (const LimitName& name : names) {
    const auto found = known.find(name);
    amounts.push_back({name, unix_ns, found == known.end() ? 0 : found->second});
  }
  limits->restore(amounts);
}

}  // namespace

core::Result<void> restore_limits(store::Store* store, gateway::LimitTable* limits,
                                  const std::vector<LimitName>& names, int64_t unix_ns) {
  Amounts known;
  for (const store::CalendarUse& use : TRY(store->calendar_use(unix_ns))) add_use(use, &known);
  for (const auto& [account, balance] : TRY(store->balances()))
    if (account.kind == ledger::AccountKind::kTenant)
      known[{LimitObject::kTenant, account.owner, Dimension::kBalance}] = balance.nano;
  restore_known(known, names, unix_ns, limits);
  return {};
}

core::Result<bool> restore_quotas(store::Store* store, const RunningJournal& journal,
                                  gateway::LimitTable* limits, const std::vector<LimitName>& names,
                                  int64_t unix_ns) {
  const auto uses =
      TRY(store::calendar_use_with_tail(store, journal.source, journal.last_sequence, unix_ns));
  if (!uses) return false;
  Amounts known;
  for (const store::CalendarUse& use : *uses) add_use(use, &known);
  restore_known(known, names, unix_ns, limits);
  return true;
}

}  // namespace sluice::apps
