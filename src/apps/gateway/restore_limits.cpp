#include "apps/gateway/restore_limits.h"

#include <map>
#include <optional>

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

}  // namespace

core::Result<void> restore_limits(store::Store* store, gateway::LimitTable* limits,
                                  const std::vector<LimitName>& names, int64_t unix_ns) {
  Amounts known;
  for (const store::CalendarUse& use : TRY(store->calendar_use(unix_ns))) add_use(use, &known);
  for (const auto& [account, balance] : TRY(store->balances()))
    if (account.kind == ledger::AccountKind::kTenant)
      known[{LimitObject::kTenant, account.owner, Dimension::kBalance}] = balance.nano;
  std::vector<gateway::RecordedAmount> amounts;
  for (const LimitName& name : names) {
    const auto found = known.find(name);  // of most the store knows nothing: nothing was used
    amounts.push_back({name, unix_ns, found == known.end() ? 0 : found->second});
  }
  limits->restore(amounts);
  return {};
}

}  // namespace sluice::apps
