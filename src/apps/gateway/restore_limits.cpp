#include "apps/gateway/restore_limits.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "ledger/billing.h"
#include "store/calendar_tail.h"
#include "store/reports.h"

namespace sluice::apps {
namespace {

using gateway::Awaited;
using gateway::Dimension;
using gateway::LimitName;
using gateway::LimitObject;

constexpr int64_t kLoopsNs = 50'000'000;  // after a change, for the data loops
constexpr int64_t kStoreNs = 50'000'000;  // and for the store
// What passes by itself is no trouble for so long.
constexpr int64_t kPatienceNs = 1'000'000'000;
constexpr size_t kNamesLoggedMax = 3;

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

std::string text_of(const std::vector<LimitName>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesLoggedMax); ++i)
    text += fmt::format("{}{} of {} {}", i == 0 ? "" : ", ", gateway::to_phrase(names[i].dimension),
                        gateway::to_text(names[i].object), names[i].id);
  if (names.size() > kNamesLoggedMax)
    text += fmt::format(" and {} other limits", names.size() - kNamesLoggedMax);
  return text;
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

LimitRestorer::Group LimitRestorer::group_of(const std::vector<LimitName>& names) const {
  Group group;
  group.began_ns = sources_.clock.now_ns();
  for (const LimitName& name : names)
    (is_balance(name) ? group.balances : group.quotas).names.push_back(name);
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
    std::erase_if(group.quotas.names, is_named);
    std::erase_if(group.balances.names, is_named);
  }
}

void LimitRestorer::run() {
  std::erase_if(groups_, [&](Group& group) { return restore(&group); });
}

void LimitRestorer::after_balance_change(std::string_view tenant) {
  for (Group& group : groups_)
    if (std::ranges::count(group.balances.names, balance_of(tenant)) > 0)
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
  std::optional<Obstacle> both = before_reading(group);
  std::unique_ptr<store::Store> store;
  if (!both) {
    auto opened = store::Store::open(sources_.store, store::OpenFor::kReports);
    if (opened.ok())
      store = std::move(opened).value();
    else
      both = fault_of(Awaited::kStore, opened.error());
  }
  const auto restore_one = [&](Unknown* unknown, auto restored) {
    if (unknown->names.empty()) return;
    const std::optional<Obstacle> obstacle = both ? both : (this->*restored)(store.get(), group);
    if (obstacle) tell(*obstacle, group->began_ns, unknown);
  };
  restore_one(&group->quotas, &LimitRestorer::restore_quotas);
  restore_one(&group->balances, &LimitRestorer::restore_balances);
  return group->quotas.names.empty() && group->balances.names.empty();
}

LimitRestorer::Obstacle LimitRestorer::store_is_behind() {
  return {.awaited = Awaited::kRecords, .why = "the store does not have all records yet"};
}

LimitRestorer::Obstacle LimitRestorer::fault_of(Awaited awaited, const core::Error& error) {
  return {.awaited = awaited, .why = error.message, .is_fault = true};
}

std::optional<LimitRestorer::Obstacle> LimitRestorer::before_reading(Group* group) {
  const store::FollowerStatus status = sources_.follower.status();
  if (!hear_loops(group, 0))
    return Obstacle{.awaited = Awaited::kGateway, .why = "a data loop has not taken them over"};
  if (!status.store_open && !status.trouble.empty())
    return Obstacle{.awaited = Awaited::kStore, .why = status.trouble, .is_fault = true};
  if (!status.store_open || !status.swept) return store_is_behind();
  return std::nullopt;
}

std::optional<LimitRestorer::Obstacle> LimitRestorer::restore_quotas(store::Store* store,
                                                                     Group* group) {
  const auto uses = store::calendar_use_with_tail(store, sources_.journal_source,
                                                  {.last_sequence = group->last_sequence,
                                                   .unix_ns = sources_.clock.unix_ns(),
                                                   .except = group->except});
  if (!uses.ok()) return fault_of(Awaited::kReading, uses.error());
  if (!*uses) return store_is_behind();
  Amounts known;
  for (const store::CalendarUse& use : **uses) add_use(use, &known);
  restore_known(known, &group->quotas);
  return std::nullopt;
}

std::optional<LimitRestorer::Obstacle> LimitRestorer::restore_balances(store::Store* store,
                                                                       Group* group) {
  if (group->last_sequence > sources_.follower.status().applied_sequence) return store_is_behind();
  const auto known = balances(store, group->except);
  if (!known.ok()) return fault_of(Awaited::kReading, known.error());
  restore_known(*known, &group->balances);
  return std::nullopt;
}

// Of most names the records know nothing: nothing was used.
void LimitRestorer::restore_known(const Amounts& known, Unknown* unknown) {
  std::vector<gateway::RecordedAmount> amounts;
  for (const LimitName& name : unknown->names) {
    const auto found = known.find(name);
    amounts.push_back({name, sources_.clock.unix_ns(), found == known.end() ? 0 : found->second});
  }
  sources_.limits.restore(amounts);
  if (unknown->logged) sources_.log.info("{}: known now", text_of(unknown->names));
  unknown->names.clear();
}

// The log says each thing once.
void LimitRestorer::tell(const Obstacle& obstacle, int64_t began_ns, Unknown* unknown) {
  if (unknown->told != obstacle.awaited) sources_.limits.explain(unknown->names, obstacle.awaited);
  unknown->told = obstacle.awaited;
  const bool is_early = sources_.clock.now_ns() - began_ns < kPatienceNs;
  if (unknown->logged == obstacle || (is_early && !obstacle.is_fault)) return;
  sources_.log.warning("{}: not known yet, requests get 503: {}", text_of(unknown->names),
                       obstacle.why);
  unknown->logged = obstacle;
}

}  // namespace sluice::apps
