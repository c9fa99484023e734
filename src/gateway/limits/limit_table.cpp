#include "gateway/limits/limit_table.h"

#include <algorithm>
#include <optional>

#include "gateway/limits/limit_state.h"

namespace sluice::gateway {
namespace {

using contract::Limits;
using contract::NanoMoney;

// A limit's number where the snapshot has one.
using Number = std::optional<int64_t>;

Number nano(const std::optional<NanoMoney>& money) {
  return money.has_value() ? Number(money->nano) : std::nullopt;
}

Number number_in(const Limits& limits, Dimension dimension) {
  switch (dimension) {
    case Dimension::kRequestsPerMinute:
      return limits.requests_per_minute;
    case Dimension::kInputTokensPerMinute:
      return limits.input_tokens_per_minute;
    case Dimension::kOutputTokensPerMinute:
      return limits.output_tokens_per_minute;
    case Dimension::kTokensPerMinute:
      return limits.tokens_per_minute;
    case Dimension::kConcurrentStreams:
      return limits.concurrent_streams;
    case Dimension::kTokensPerDay:
      return limits.tokens_per_day;
    case Dimension::kTokensPerMonth:
      return limits.tokens_per_month;
    case Dimension::kMoneyPerDay:
      return nano(limits.money_per_day);
    case Dimension::kMoneyPerMonth:
      return nano(limits.money_per_month);
    case Dimension::kBalance:
      return std::nullopt;
  }
  return std::nullopt;
}

bool is_counted_in_records(Dimension dimension) {
  return dimension == Dimension::kBalance || calendar_of(dimension).has_value();
}

std::shared_ptr<LimitState> new_state(LimitName name, int64_t number, int64_t burst_ms,
                                      int64_t now_ns) {
  if (name.dimension == Dimension::kBalance) {
    return std::make_shared<LimitState>(std::move(name), std::in_place_type<BalanceWord<>>);
  }
  if (name.dimension == Dimension::kConcurrentStreams) {
    return std::make_shared<LimitState>(std::move(name), std::in_place_type<OpenWord<>>, number);
  }
  if (calendar_of(name.dimension).has_value()) {
    return std::make_shared<LimitState>(std::move(name), std::in_place_type<CalendarWord<>>,
                                        number);
  }
  return std::make_shared<LimitState>(std::move(name), std::in_place_type<RateWord<>>,
                                      RateLimit::of(number, burst_ms), now_ns);
}

void change(LimitState& state, int64_t number, int64_t burst_ms, int64_t now_ns) {
  if (auto* rate = std::get_if<RateWord<>>(&state.word)) {
    rate->change(RateLimit::of(number, burst_ms), now_ns);
  } else if (auto* open = std::get_if<OpenWord<>>(&state.word)) {
    open->change(number);
  } else if (auto* calendar = std::get_if<CalendarWord<>>(&state.word)) {
    calendar->change(number);
  }
}

}  // namespace

// Takes what is still limited over from the states before.
class LimitTable::Applying {
 public:
  Applying(const Objects& before, int64_t now_ns) : before_(before), now_ns_(now_ns) {
    objects.reserve(before.size());
  }

  // balance: of a prepaid tenant.
  void add(LimitObject object, const std::string& id, const Limits& limits,
           Number balance = std::nullopt) {
    std::array<Number, kDimensions> numbers;
    for (int d = 0; d < kDimensions; ++d)
      numbers[static_cast<size_t>(d)] = number_in(limits, static_cast<Dimension>(d));
    numbers[static_cast<size_t>(Dimension::kBalance)] = balance;
    if (std::ranges::none_of(numbers, &Number::has_value)) return;
    const ObjectName name = {object, id};
    const auto before = before_.find(name);
    States& states = objects[name];
    for (size_t d = 0; d < kDimensions; ++d) {
      if (!numbers[d].has_value()) continue;
      if (before != before_.end()) states[d] = before->second[d];
      if (states[d] != nullptr)
        change(*states[d], *numbers[d], limits.burst_ms, now_ns_);
      else
        states[d] = begin({object, id, static_cast<Dimension>(d)}, *numbers[d], limits.burst_ms);
    }
  }

  Objects objects;
  std::vector<LimitName> uncounted;

 private:
  std::shared_ptr<LimitState> begin(const LimitName& name, int64_t number, int64_t burst_ms) {
    if (is_counted_in_records(name.dimension)) uncounted.push_back(name);
    return new_state(name, number, burst_ms, now_ns_);
  }

  const Objects& before_;
  const int64_t now_ns_;
};

LimitTable::LimitTable(const core::Clock& clock) : clock_(clock) {}
LimitTable::~LimitTable() = default;

std::vector<LimitName> LimitTable::apply(const contract::Snapshot& snapshot) {
  Applying applying(objects_, clock_.now_ns());
  for (const auto& tenant : snapshot.tenants)
    applying.add(LimitObject::kTenant, tenant.id, tenant.limits,
                 tenant.prepaid ? Number(0) : std::nullopt);
  for (const auto& project : snapshot.projects)
    applying.add(LimitObject::kProject, project.id, project.limits);
  for (const auto& key : snapshot.keys) applying.add(LimitObject::kKey, key.id, key.limits);
  for (const auto& model : snapshot.models)
    applying.add(LimitObject::kModel, model.id, model.limits);
  const std::lock_guard lock(mutex_);
  objects_.swap(applying.objects);
  return std::move(applying.uncounted);
}

void LimitTable::restore(const std::vector<RecordedAmount>& amounts) {
  for (const RecordedAmount& recorded : amounts) {
    const auto state = find(recorded.name);
    if (state == nullptr) continue;
    if (auto* balance = std::get_if<BalanceWord<>>(&state->word)) {
      balance->add(recorded.amount);
    } else if (auto* calendar = std::get_if<CalendarWord<>>(&state->word)) {
      const PeriodKind kind = *calendar_of(recorded.name.dimension);
      calendar->add(recorded.amount, period_of(kind, recorded.unix_ns));
    }
  }
}

bool LimitTable::top_up(std::string_view tenant, NanoMoney amount) {
  const auto state = find({LimitObject::kTenant, std::string(tenant), Dimension::kBalance});
  if (state == nullptr) return false;
  std::get<BalanceWord<>>(state->word).add(amount.nano);
  return true;
}

std::optional<NanoMoney> LimitTable::balance(std::string_view tenant) const {
  const auto state = find({LimitObject::kTenant, std::string(tenant), Dimension::kBalance});
  if (state == nullptr) return std::nullopt;
  return NanoMoney{std::get<BalanceWord<>>(state->word).left()};
}

std::shared_ptr<LimitState> LimitTable::find(const LimitName& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find({name.object, name.id});
  return found == objects_.end() ? nullptr : found->second[static_cast<size_t>(name.dimension)];
}

std::shared_ptr<const LimitSet> LimitTable::set_of(std::span<const ObjectName> names) const {
  std::vector<std::shared_ptr<LimitState>> states;
  const std::lock_guard lock(mutex_);
  for (const ObjectName& name : names) {
    const auto found = objects_.find(name);
    if (found == objects_.end()) continue;
    for (const auto& state : found->second) {
      if (state != nullptr) states.push_back(state);
    }
  }
  return std::make_shared<LimitSet>(clock_, std::move(states));
}

std::shared_ptr<const LimitSet> LimitTable::key_limits(const contract::Key& key,
                                                       const contract::Project& project) const {
  const ObjectName names[] = {{LimitObject::kKey, key.id},
                              {LimitObject::kProject, project.id},
                              {LimitObject::kTenant, project.tenant}};
  return set_of(names);
}

std::shared_ptr<const LimitSet> LimitTable::model_limits(const contract::Model& model) const {
  const ObjectName names[] = {{LimitObject::kModel, model.id}};
  return set_of(names);
}

}  // namespace sluice::gateway
