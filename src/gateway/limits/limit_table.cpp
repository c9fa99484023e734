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

template <typename Object>
bool is_prepaid(const Object&) {
  return false;
}
bool is_prepaid(const contract::Tenant& tenant) {
  return tenant.prepaid;
}

// Whose limits hold besides its own.
template <typename Object>
std::string_view holder_of(const Object&) {
  return {};
}
std::string_view holder_of(const contract::Project& project) {
  return project.tenant;
}
std::string_view holder_of(const contract::Key& key) {
  return key.project;
}

template <typename Object>
bool limited_alike(const Object& a, const Object& b) {
  return a.limits == b.limits && is_prepaid(a) == is_prepaid(b) && holder_of(a) == holder_of(b);
}

// Calls visit(before, after) for each object that is limited in another way than before; null: it
// was not there, it is no longer there. Most lists differ in one object, or by one at the end.
template <typename Object, typename Visit>
void for_each_difference(const std::vector<Object>& before, const std::vector<Object>& after,
                         Visit visit) {
  size_t alike = 0;
  for (; alike < std::min(before.size(), after.size()) && before[alike].id == after[alike].id;
       ++alike)
    if (!limited_alike(before[alike], after[alike])) visit(&before[alike], &after[alike]);
  std::unordered_map<std::string_view, const Object*> rest;
  for (size_t i = alike; i < before.size(); ++i) rest.emplace(before[i].id, &before[i]);
  for (size_t i = alike; i < after.size(); ++i) {
    const auto found = rest.find(after[i].id);
    const Object* was = found == rest.end() ? nullptr : found->second;
    if (was == nullptr || !limited_alike(*was, after[i])) visit(was, &after[i]);
    if (was != nullptr) rest.erase(found);
  }
  for (const auto& [id, gone] : rest) visit(gone, static_cast<const Object*>(nullptr));
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

struct LimitTable::Numbers {
  std::array<Number, kDimensions> by_dimension = {};
  int64_t burst_ms = 0;

  template <typename Object>
  static Numbers of(const Object& object) {
    Numbers numbers = {.burst_ms = object.limits.burst_ms};
    for (int d = 0; d < kDimensions; ++d)
      numbers.by_dimension[static_cast<size_t>(d)] =
          number_in(object.limits, static_cast<Dimension>(d));
    if (is_prepaid(object)) numbers.by_dimension[static_cast<size_t>(Dimension::kBalance)] = 0;
    return numbers;
  }
};

LimitTable::LimitTable(const core::Clock& clock)
    : clock_(clock), applied_(std::make_shared<contract::Snapshot>()) {}
LimitTable::~LimitTable() = default;

// Nothing limited: the object is forgotten. What is still limited keeps its state.
void LimitTable::set(ObjectName name, const Numbers& numbers, LimitsChange* change) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::none_of(numbers.by_dimension, &Number::has_value)) {
    objects_.erase(name);
    return;
  }
  States& states = objects_[name];
  for (size_t d = 0; d < kDimensions; ++d) {
    const Number number = numbers.by_dimension[d];
    if (!number.has_value()) {
      states[d].reset();
    } else if (states[d] != nullptr) {
      gateway::change(*states[d], *number, numbers.burst_ms, clock_.now_ns());
    } else {
      const LimitName limit = {name.first, name.second, static_cast<Dimension>(d)};
      if (is_counted_in_records(limit.dimension)) change->uncounted.push_back(limit);
      change->holds_more = true;
      states[d] = new_state(limit, *number, numbers.burst_ms, clock_.now_ns());
    }
  }
}

LimitsChange LimitTable::apply(std::shared_ptr<const contract::Snapshot> snapshot) {
  LimitsChange change;
  const auto take_over = [&](LimitObject object, const auto& before, const auto& after) {
    for_each_difference(before, after, [&](const auto* was, const auto* now) {
      if (now == nullptr) return set({object, was->id}, {}, &change);
      set({object, now->id}, Numbers::of(*now), &change);
      change.holds_more |= was != nullptr && holder_of(*was) != holder_of(*now);
    });
  };
  take_over(LimitObject::kTenant, applied_->tenants, snapshot->tenants);
  take_over(LimitObject::kProject, applied_->projects, snapshot->projects);
  take_over(LimitObject::kKey, applied_->keys, snapshot->keys);
  take_over(LimitObject::kModel, applied_->models, snapshot->models);
  applied_ = std::move(snapshot);
  return change;
}

void LimitTable::withhold(const std::vector<LimitName>& names) {
  for (const LimitName& name : names) {
    const auto state = find(name);
    if (state == nullptr) continue;
    if (auto* calendar = std::get_if<CalendarWord<>>(&state->word)) calendar->withhold();
  }
}

void LimitTable::explain(const std::vector<LimitName>& names, Awaited awaited) {
  for (const LimitName& name : names)
    if (const auto state = find(name)) state->awaited.store(awaited);
}

void LimitTable::restore(const std::vector<RecordedAmount>& amounts) {
  for (const RecordedAmount& recorded : amounts) {
    const auto state = find(recorded.name);
    if (state == nullptr) continue;
    if (auto* balance = std::get_if<BalanceWord<>>(&state->word)) {
      balance->begin(recorded.amount);
    } else if (auto* calendar = std::get_if<CalendarWord<>>(&state->word)) {
      const PeriodKind kind = *calendar_of(recorded.name.dimension);
      calendar->add(recorded.amount, period_of(kind, recorded.unix_ns));
      calendar->release();
    }
  }
}

bool LimitTable::top_up(std::string_view tenant, NanoMoney amount) {
  const auto state = find({LimitObject::kTenant, std::string(tenant), Dimension::kBalance});
  if (state == nullptr) return false;
  auto& balance = std::get<BalanceWord<>>(state->word);
  if (balance.known()) balance.add(amount.nano);
  return true;
}

std::optional<NanoMoney> LimitTable::balance(std::string_view tenant) const {
  const auto state = find({LimitObject::kTenant, std::string(tenant), Dimension::kBalance});
  if (state == nullptr || !std::get<BalanceWord<>>(state->word).known()) return std::nullopt;
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
