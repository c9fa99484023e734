#include "jinja/symbols.h"

namespace sluice::jinja {
namespace {

Load load_from_globals(const std::string& name) {
  return {.how = Load::How::kFromGlobals, .name = Value::string(name)};
}

}  // namespace

int FunctionNames::slot(int level, const std::string& name) {
  const auto [found, is_new] = slots.try_emplace({level, name}, function->slots);
  if (is_new) ++function->slots;
  return found->second;
}

Symbols Symbols::branch() const {
  Symbols branch(outer_, *function_, level_);
  branch.trunk_ = this;
  return branch;
}

std::optional<Symbols::Ref> Symbols::find(const std::string& name) const {
  if (const auto slot = own_slot(name)) return Ref{function_, *slot};
  return outer_ == nullptr ? std::nullopt : outer_->find(name);
}

std::optional<int> Symbols::own_slot(const std::string& name) const {
  const auto found = refs_.find(name);
  if (found != refs_.end()) return found->second;
  return trunk_ == nullptr ? std::nullopt : trunk_->own_slot(name);
}

bool Symbols::is_stored(const std::string& name) const {
  return stores_.contains(name) || (trunk_ != nullptr && trunk_->is_stored(name));
}

int Symbols::define(const std::string& name, std::optional<Load> load) {
  const int slot = function_->slot(level_, name);
  refs_[name] = slot;
  loads_[slot] = std::move(load);
  return slot;
}

void Symbols::load(const std::string& name) {
  if (!find(name)) define(name, load_from_globals(name));
}

void Symbols::store(const std::string& name) {
  stores_.insert(name);
  if (!own_slot(name)) define(name, load_from_outside(name, Load::How::kClear));
}

int Symbols::parameter(const std::string& name) {
  stores_.insert(name);
  return define(name, std::nullopt);
}

Load Symbols::load_from_outside(const std::string& name, Load::How without) const {
  const auto outside = outer_ == nullptr ? std::nullopt : outer_->find(name);
  if (outside) {
    const int hops = function_->depth - outside->function->depth;
    return {.how = Load::How::kFromOuter, .outer = {hops, outside->slot}};
  }
  if (without == Load::How::kFromGlobals) return load_from_globals(name);
  return {.how = Load::How::kClear};
}

void Symbols::merge(std::span<const Symbols> branches) {
  std::set<std::string> uncertain;
  for (const Symbols& branch : branches) {
    for (const std::string& name : branch.stores_) {
      if (!is_stored(name)) uncertain.insert(name);
    }
  }
  for (const Symbols& branch : branches) {
    for (const auto& [name, slot] : branch.refs_) refs_[name] = slot;
    for (const auto& [slot, load] : branch.loads_) loads_[slot] = load;
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  for (const std::string& name : uncertain) {
    loads_[*own_slot(name)] = load_from_outside(name, Load::How::kFromGlobals);
  }
}

SlotRef Symbols::slot_of(const std::string& name) const {
  const auto ref = find(name);
  ASSERT(ref.has_value(), "the name {} was not collected", name);
  return {function_->depth - ref->function->depth, ref->slot};
}

Scope Symbols::scope() const {
  Scope scope;
  for (const auto& [slot, load] : loads_) {
    scope.slots.push_back(slot);
    if (!load) continue;
    scope.loads.push_back(*load);
    scope.loads.back().slot = slot;
  }
  return scope;
}

}  // namespace sluice::jinja
