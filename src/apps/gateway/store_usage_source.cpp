#include "apps/gateway/store_usage_source.h"

#include <limits>
#include <map>

#include "store/reports.h"

namespace sluice::apps {
namespace {

constexpr int64_t kSecondsADay = 86'400;
constexpr int64_t kLastDay = 2'932'896;  // 9999-12-31

gateway::UsageRow to_row(store::UsageRow&& row) {
  using contract::Unit;
  const store::UsageTotals& totals = row.totals;
  gateway::UsageRow out{.group = std::move(row.group),
                        .requests = totals.requests,
                        .amount = totals.amount,
                        .cost = totals.cost};
  const auto set = [&](Unit unit, int64_t quantity) {
    out.quantities[static_cast<size_t>(unit)] = quantity;
  };
  set(Unit::kPromptToken, totals.prompt_tokens);
  set(Unit::kCachedPromptToken, totals.cached_tokens);
  set(Unit::kOutputToken, totals.output_tokens);
  set(Unit::kReasoningToken, totals.reasoning_tokens);
  set(Unit::kComputeMicrosecond, totals.compute_us);
  return out;
}

}  // namespace

core::Result<store::Store*> StoreUsageSource::open() {
  if (store_ == nullptr) store_ = TRY(store::Store::open(address_, store::OpenFor::kReports));
  return store_.get();
}

core::Error StoreUsageSource::failed(const core::Error& error) {
  store_.reset();
  return error;
}

int64_t StoreUsageSource::catch_up() {
  const uint64_t last = journal_.last_sequence();
  if (journal_.flush().ok() && follower_.wait_until_applied(last, kCatchUpNs)) return 0;
  const uint64_t applied = follower_.status().applied_sequence;
  return last > applied ? static_cast<int64_t>(last - applied) : 0;
}

core::Result<std::vector<gateway::UsageRow>> StoreUsageSource::usage(
    const gateway::UsageQuery& query) {
  store::Store* store = TRY(open());
  store::UsageQuery asked{
      .group_by = {},
      .first_day = query.from_unix_s / kSecondsADay,
      .last_day = query.to_unix_s == 0 ? kLastDay : (query.to_unix_s - 1) / kSecondsADay,
      .tenant = query.tenant,
      .project = query.project,
      .key = query.key,
      .model = query.model};
  for (const gateway::UsageGroup group : query.group_by)
    asked.group_by.push_back(static_cast<store::UsageGroup>(group));  // the same five, in order
  auto rows = store::usage(store->database(), asked);
  if (!rows.ok()) return failed(rows.error());
  std::vector<gateway::UsageRow> out;
  for (store::UsageRow& row : *rows) out.push_back(to_row(std::move(row)));
  return out;
}

core::Result<std::vector<gateway::Balance>> StoreUsageSource::balances(const std::string& tenant) {
  store::Store* store = TRY(open());
  const auto accounts = store->balances();
  if (!accounts.ok()) return failed(accounts.error());
  std::map<std::string, gateway::Balance> by_tenant;
  for (const auto& [account, balance] : *accounts) {
    const bool free = account.kind == ledger::AccountKind::kTenant;
    if (!free && account.kind != ledger::AccountKind::kReserved) continue;
    if (!tenant.empty() && account.owner != tenant) continue;
    gateway::Balance& entry = by_tenant[account.owner];
    entry.tenant = account.owner;
    (free ? entry.available : entry.reserved) = balance;
  }
  std::vector<gateway::Balance> out;
  for (auto& [owner, balance] : by_tenant) out.push_back(std::move(balance));
  return out;
}

core::Result<std::vector<contract::ChangeRecord>> StoreUsageSource::changes(int64_t after,
                                                                            int64_t count_max) {
  store::Store* store = TRY(open());
  // Behind every change of the generation `after`.
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
  const auto found =
      store->changes({.generation = after, .gateway = kLast, .sequence = kLast}, count_max);
  if (!found.ok()) return failed(found.error());
  std::vector<contract::ChangeRecord> out;
  for (const store::StoredChange& stored : *found) out.push_back(stored.change);
  return out;
}

core::Result<std::vector<contract::BalanceChange>> StoreUsageSource::balance_changes(
    const std::vector<std::string>& ids) {
  if (!follower_.status().swept)
    return core::invalid("the store does not have all records of the last run yet");
  store::Store* store = TRY(open());
  std::vector<contract::BalanceChange> out;
  for (const std::string& id : ids) {
    auto found = store->balance_change(id);
    if (!found.ok()) return failed(found.error());
    if (*found) out.push_back(std::move(**found));
  }
  return out;
}

}  // namespace sluice::apps
