// The names of a block while they are bound to slots (scope.h).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "jinja/ast.h"

namespace sluice::jinja {

// A function while its names are bound.
struct FunctionNames {
  FunctionNames* outer = nullptr;
  int depth = 0;  // of nested functions
  Function* function = nullptr;
  // Blocks of one level share the slots of equal names: only one of them runs at a time.
  std::map<std::pair<int, std::string>, int> slots{};

  int slot(int level, const std::string& name);
};

// The names of one block. A branch of an `if` has symbols of its own on top of its block's, until
// they are merged.
class Symbols {
 public:
  // `outer` may be null; `level` counts nested blocks.
  Symbols(const Symbols* outer, FunctionNames& function, int level)
      : outer_(outer), function_(&function), level_(level) {}

  Symbols branch() const;
  // What a branch stores may or may not have been stored behind the `if`.
  void merge(std::span<const Symbols> branches);

  int level() const { return level_; }
  FunctionNames& function() const { return *function_; }

  void load(const std::string& name);
  void store(const std::string& name);
  // A name that gets its value before the block begins. Returns its slot.
  int parameter(const std::string& name);

  // The slot of a name, as seen from this block's function. The name was loaded or stored.
  SlotRef slot_of(const std::string& name) const;
  Scope scope() const;

 private:
  struct Ref {
    const FunctionNames* function;
    int slot;
  };

  std::optional<Ref> find(const std::string& name) const;
  // Of this block, not of those around it.
  std::optional<int> own_slot(const std::string& name) const;
  bool is_stored(const std::string& name) const;
  int define(const std::string& name, std::optional<Load> load);
  Load load_from_outside(const std::string& name, Load::How without) const;

  const Symbols* outer_;
  const Symbols* trunk_ = nullptr;  // what this is a branch of
  FunctionNames* function_;
  int level_;
  std::map<std::string, int> refs_;
  std::map<int, std::optional<Load>> loads_;  // by slot; a parameter has no load
  std::set<std::string> stores_;
};

}  // namespace sluice::jinja
