#include "apps/gateway/restore_limits.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "ledger/billing.h"
#include "store/calendar_tail.h"
#include "store/reports.h"

namespace sluice::apps {
namespace {

using gateway::Dimension;
using gateway::LimitName;
using gateway::LimitObject;

constexpr int64_t kLoopsNs = 50'000'000;  // after a change, for the data loops
constexpr int64_t kStoreNs = 50'000'000;  // and for the store

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

LimitName balance_of(std::string_view tenant) {
  return {LimitObject::kTenant, std::string(tenant), Dimension::kBalance};
}

// Without what the requests `except` have taken: what they hold, or were charged.
core::Result<Amounts> balances(store::Store* store, const std::set<contract::RequestId>& except) {
  Amounts known;
  const auto one_state = TRY(store::Transaction::begin_read(store->database()));
  for (const auto& [account, balance] : TRY(store->balances()))
    if (account.kind == ledger::AccountKind::kTenant)
      known[balance_of(account.owner)] = balance.nano;
  if (except.empty()) return known;
  for (const contract::Reservation& open : TRY(store->open_reservations()))
    if (except.contains(open.id)) known[balance_of(open.tenant)] += open.amount.nano;
  const std::vector<contract::RequestId> ids(except.begin(), except.end());
  for (const contract::UsageEvent& event : TRY(store::events_of(store->database(), ids)))
    known[balance_of(event.tenant)] += ledger::total_amount(event.lines).nano;
  return known;
}

bool is_balance(const LimitName& name) {
  return name.dimension == Dimension::kBalance;
}

}  // namespace

void JoinedRequests::add(const std::vector<contract::RequestId>& joined) {
  const std::lock_guard lock(mutex_);
  ids_.insert(joined.begin(), joined.end());
  if (--missing_ == 0) changed_.notify_all();
}

bool JoinedRequests::wait(int64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns),
                           [&] { return missing_ == 0; });
}

LimitRestorer::Group LimitRestorer::group_of(const std::vector<LimitName>& names) {
  Group group;
  for (const LimitName& name : names)
    (is_balance(name) ? group.balances : group.quotas).push_back(name);
  return group;
}

void LimitRestorer::begin_at_start(const std::vector<LimitName>& names) {
  if (names.empty()) return;
  Group& group = groups_.emplace_back(group_of(names));
  group.last_sequence = sources_.journal.recovery().last_sequence;
  run();
}

void LimitRestorer::begin(const std::vector<LimitName>& names,
                          std::shared_ptr<JoinedRequests> joined) {
  if (names.empty()) return;
  forget(names);
  Group& group = groups_.emplace_back(group_of(names));
  group.joined = std::move(joined);
  if (hear_loops(&group, kLoopsNs) && sources_.journal.flush().ok())
    sources_.follower.wait_until_applied(group.last_sequence, kStoreNs);
  run();
}

// A limit that went and came back before it was known begins anew, with what the records say then:
// what an earlier group would say of it would be added besides.
void LimitRestorer::forget(const std::vector<LimitName>& names) {
  const auto is_named = [&](const LimitName& name) { return std::ranges::count(names, name) > 0; };
  for (Group& group : groups_) {
    std::erase_if(group.quotas, is_named);
    std::erase_if(group.balances, is_named);
  }
}

void LimitRestorer::run() {
  std::erase_if(groups_, [&](Group& group) { return restore(&group); });
}

void LimitRestorer::after_balance_change(std::string_view tenant) {
  for (Group& group : groups_)
    if (std::ranges::count(group.balances, balance_of(tenant)) > 0)
      group.last_sequence = sources_.journal.last_sequence();
}

// What ended before its loop spoke has a record when all have.
bool LimitRestorer::hear_loops(Group* group, int64_t timeout_ns) {
  if (group->joined == nullptr) return true;
  if (!group->joined->wait(timeout_ns)) return false;
  group->except = group->joined->take();
  group->joined = nullptr;
  group->last_sequence = sources_.journal.last_sequence();
  return true;
}

// Whether all of them are known.
bool LimitRestorer::restore(Group* group) {
  const store::FollowerStatus status = sources_.follower.status();
  if (!hear_loops(group, 0) || !status.swept || !status.store_open) return false;
  auto store = store::Store::open(sources_.store, store::OpenFor::kReports);
  if (!store.ok()) return false;  // the follower's log says what the store's trouble is
  if (!group->quotas.empty()) (void)restore_quotas(store->get(), group);
  if (!group->balances.empty() && group->last_sequence <= status.applied_sequence)
    (void)restore_balances(store->get(), group);
  return group->quotas.empty() && group->balances.empty();
}

core::Result<void> LimitRestorer::restore_quotas(store::Store* store, Group* group) {
  const auto uses = TRY(store::calendar_use_with_tail(store, sources_.journal_source,
                                                      {.last_sequence = group->last_sequence,
                                                       .unix_ns = sources_.clock.unix_ns(),
                                                       .except = group->except}));
  if (!uses) return {};
  Amounts known;
  for (const store::CalendarUse& use : *uses) add_use(use, &known);
  restore_known(known, &group->quotas);
  return {};
}

core::Result<void> LimitRestorer::restore_balances(store::Store* store, Group* group) {
  restore_known(TRY(balances(store, group->except)), &group->balances);
  return {};
}

// Of most names the records know nothing: nothing was used.
void LimitRestorer::restore_known(const Amounts& known, std::vector<LimitName>* names) {
  std::vector<gateway::RecordedAmount> amounts;
  for (const LimitName& name : *names) {
    const auto found = known.find(name);
    amounts.push_back({name, sources_.clock.unix_ns(), found == known.end() ? 0 : found->second});
  }
  sources_.limits.restore(amounts);
  names->clear();
}

}  // namespace sluice::apps
