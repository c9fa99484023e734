// A parsed template. Names carry, after bind_names() (scope.h), the slot that their variable lives
// in; filters, tests and methods are looked up once, when the template is loaded.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/native.h"
#include "jinja/value.h"

namespace sluice::jinja {

struct Expr;
struct Statement;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<Statement>;

// Where a variable lives: `hops` functions outwards (a macro's body sees the variables around the
// macro), then the number of the slot there.
struct SlotRef {
  int hops = 0;
  int index = 0;
};

// --- expressions -------------------------------------------------------------------------------

struct Constant {
  Value value;
};
struct Name {
  std::string name;
  SlotRef slot;
  Value undefined;  // what stands for the variable where it has no value
};
struct ListLiteral {
  std::vector<ExprPtr> items;
  ListKind kind = ListKind::kList;  // or tuple
};
struct DictLiteral {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};

enum class UnaryOp { kNegative, kPositive, kLogicalNot };
struct Unary {
  UnaryOp op;
  ExprPtr operand;
};

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
struct Binary {
  BinaryOp op;
  ExprPtr left, right;
};

enum class LogicOp { kLogicalAnd, kLogicalOr };
struct Logic {
  LogicOp op;
  ExprPtr left, right;
};

enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct Compare {
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;  // a < b < c
};
struct Concat {
  std::vector<ExprPtr> parts;  // a ~ b ~ c
};
struct Conditional {
  ExprPtr condition, then, otherwise;  // otherwise may be null
};

struct Attribute {
  ExprPtr object;
  Value name;
  Value missing_in_dict;  // "'dict object' has no attribute 'name'"
  Methods methods;        // that the name has on strings, lists, dicts …
};
struct Subscript {
  ExprPtr object, key;
};
struct Slice {
  ExprPtr object;
  ExprPtr start, stop, step;  // each may be null
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;  // may be null
};
struct Call {
  ExprPtr callee;
  CallArguments arguments;
};
// A filter or a test: null functions are names that nobody knows, in a branch that may never run.
struct Filter {
  ExprPtr input;  // null: the text of the block around it
  std::string name;
  CallArguments arguments;
  const Native* function = nullptr;
};
struct Test {
  ExprPtr input;
  std::string name;
  CallArguments arguments;
  const Native* function = nullptr;
};

struct Expr {
  using Node = std::variant<Constant, Name, ListLiteral, DictLiteral, Unary, Binary, Logic, Compare,
                            Concat, Conditional, Attribute, Subscript, Slice, Call, Filter, Test>;
  int line = 1;
  int depth = 1;  // of nested expressions, this one included
  Node node;
};

// --- statements --------------------------------------------------------------------------------

// What happens to one variable when its scope is entered.
struct Load {
  enum class How { kFromGlobals, kFromOuter, kClear };
  How how = How::kClear;
  int slot = 0;
  Value name{};     // from_globals
  SlotRef outer{};  // from_outer
};
struct Scope {
  std::vector<Load> loads;
  std::vector<int> slots;  // of all its variables, cleared when it is left
};

// Code with slots of its own: the template, a macro, the body of a call block or a recursive loop.
struct Function {
  int slots = 0;
  bool is_captured = false;  // a macro inside may use its slots after it has returned
};

struct Target;
struct NamespaceTarget {
  Name object;
  Value attribute;
};
// Where a value goes: a name, an attribute of a namespace, or several of these.
struct Target {
  int line = 1;
  std::variant<Name, NamespaceTarget, std::vector<Target>> to;
};

struct TextOutput {
  std::string text;
};
struct Print {
  ExprPtr value;
};
struct If {
  struct Branch {
    ExprPtr condition;
    Body body;
  };
  std::vector<Branch> branches;
  Body otherwise;
};
struct For {
  Target target;
  Target filter_target;  // the same variables, as the filter sees them
  ExprPtr iterable;
  ExprPtr filter;  // null without `if`
  Body body;
  Body otherwise;
  bool is_recursive = false;
  std::optional<SlotRef> loop;  // where `loop` lives, if the body uses it
  Scope scope, filter_scope, else_scope;
  Function function;  // of a recursive loop
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  ExprPtr filter;  // null without
  Body body;
  Scope scope;
};
struct FilterBlock {
  ExprPtr filter;
  Body body;
  Scope scope;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> assignments;
  Body body;
  Scope scope;
};
// The body of a macro or of a call block.
struct MacroCode {
  std::string name;  // empty for a call block
  struct Parameter {
    std::string name;
    int slot = 0;
    ExprPtr otherwise;  // the default; may be null
    Value missing;      // "parameter 'x' was not provided"
  };
  std::vector<Parameter> parameters;
  std::optional<int> caller_slot, kwargs_slot, varargs_slot;  // where the body uses them
  bool has_caller = false;                                    // takes a caller, named or not
  Body body;
  Scope scope;
  Function function;
};
struct MacroDefinition {
  Name target;
  std::unique_ptr<MacroCode> code;
};
struct CallBlock {
  ExprPtr call;  // holds a Call
  std::unique_ptr<MacroCode> caller;
};
struct Break {};
struct Continue {};

struct Statement {
  using Node = std::variant<TextOutput, Print, If, For, Set, SetBlock, FilterBlock, With,
                            MacroDefinition, CallBlock, Break, Continue>;
  int line = 1;
  Node node;
};

struct Program {
  Body body;
  Scope scope;
  Function function;
};

}  // namespace sluice::jinja
