#include "jinja/scope.h"

#include <algorithm>
#include <functional>

#include "jinja/ast_walk.h"
#include "jinja/special_names.h"
#include "jinja/symbols.h"

namespace sluice::jinja {
namespace {

using core::Result;

// First pass over a block: which names it loads and stores, without looking into the blocks in it.
class Collector {
 public:
  explicit Collector(Symbols& symbols) : symbols_(&symbols) {}

  void body(Body& body) {
    for (Statement& statement : body) {
      std::visit([&](auto& node) { visit(node); }, statement.node);
    }
  }
  void expression(const ExprPtr& expr) {
    if (expr != nullptr) expression(*expr);
  }
  void expression(Expr& expr) {
    if (auto* name = std::get_if<Name>(&expr.node)) symbols_->load(name->name);
    each_child(expr, [&](Expr& child) { expression(child); });
  }
  void store(Target& target) {
    each_name(target, [&](Name& name) { symbols_->store(name.name); });
    each_namespace(target, [&](NamespaceTarget& object) { symbols_->load(object.object.name); });
  }

 private:
  void visit(TextOutput&) {}
  void visit(Break&) {}
  void visit(Continue&) {}
  void visit(Print& node) { expression(node.value); }
  void visit(For& node) { expression(node.iterable); }
  void visit(Set& node) {
    expression(node.value);
    store(node.target);
  }
  void visit(SetBlock& node) { store(node.target); }
  void visit(FilterBlock& node) { expression(node.filter); }
  void visit(With& node) {
    for (auto& [target, value] : node.assignments) expression(value);
  }
  void visit(MacroDefinition& node) { symbols_->store(node.target.name); }
  void visit(CallBlock& node) { expression(node.call); }

  // The first branch, the rest of them as one, and the else: jinja's view of an if with elifs.
  void visit(If& node) {
    expression(node.branches[0].condition);
    in_branches({[&] { body(node.branches[0].body); },
                 [&] {
                   for (size_t i = 1; i < node.branches.size(); ++i) {
                     expression(node.branches[i].condition);
                     in_branches({[&] { body(node.branches[i].body); }});
                   }
                 },
                 [&] { body(node.otherwise); }});
  }

  void in_branches(const std::vector<std::function<void()>>& visits) {
    Symbols& before = *symbols_;
    std::vector<Symbols> branches(visits.size(), before.branch());
    for (size_t i = 0; i < visits.size(); ++i) {
      symbols_ = &branches[i];
      visits[i]();
    }
    symbols_ = &before;
    before.merge(branches);
  }

  Symbols* symbols_;
};

// Second pass: gives names their slots, and does both passes for the blocks inside.
class Binder {
 public:
  Result<void> program(Program& program) {
    FunctionNames function{.function = &program.function};
    Symbols symbols(nullptr, function, 0);
    Collector(symbols).body(program.body);
    TRY(body(program.body, {symbols, Branch::kAlways}));
    program.scope = symbols.scope();
    return {};
  }

 private:
  // Within an `if` of the same block, an unknown filter is an error only where it is used.
  enum class Branch { kAlways, kMaybe };
  struct Frame {
    Symbols& symbols;
    Branch branch;
  };

  void bind(Name& name, const Symbols& symbols) { name.slot = symbols.slot_of(name.name); }

  void bind(Target& target, const Symbols& symbols) {
    each_name(target, [&](Name& name) { bind(name, symbols); });
    each_namespace(target, [&](NamespaceTarget& object) { bind(object.object, symbols); });
  }

  Result<void> bind(const ExprPtr& expr, Frame frame) {
    return expr == nullptr ? Result<void>() : bind(*expr, frame);
  }

  Result<void> bind(Expr& expr, Frame frame) {
    if (auto* name = std::get_if<Name>(&expr.node)) bind(*name, frame.symbols);
    if (std::holds_alternative<Conditional>(expr.node)) frame.branch = Branch::kMaybe;
    // Those that do not exist are errors only where they are run: here, and in a branch when the
    // rendering gets there.
    if (frame.branch == Branch::kAlways) {
      const auto* filter = std::get_if<Filter>(&expr.node);
      if (filter != nullptr && filter->function == nullptr) {
        return core::invalid("line {}: no filter named '{}'", expr.line, filter->name);
      }
      const auto* test = std::get_if<Test>(&expr.node);
      if (test != nullptr && test->function == nullptr) {
        return core::invalid("line {}: no test named '{}'", expr.line, test->name);
      }
    }
    Result<void> result;
    each_child(expr, [&](Expr& child) {
      if (result.ok()) result = bind(child, frame);
    });
    return result;
  }

  Result<void> body(Body& body, Frame frame) {
    for (Statement& statement : body) {
      TRY(std::visit([&](auto& node) { return visit(node, frame); }, statement.node));
    }
    return {};
  }

  Result<void> visit(TextOutput&, Frame) { return {}; }
  Result<void> visit(Break&, Frame) { return {}; }
  Result<void> visit(Continue&, Frame) { return {}; }
  Result<void> visit(Print& node, Frame frame) { return bind(node.value, frame); }

  Result<void> visit(If& node, Frame frame) {
    frame.branch = Branch::kMaybe;
    for (If::Branch& branch : node.branches) {
      TRY(bind(branch.condition, frame));
      TRY(body(branch.body, frame));
    }
    return body(node.otherwise, frame);
  }

  // Inside of a for, `loop` is the for's.
  Result<void> check_target(Target& target) {
    bool writes_loop = false;
    each_name(target, [&](Name& name) { writes_loop = writes_loop || name.name == "loop"; });
    if (!writes_loop || loops_ == 0) return {};
    return core::invalid("line {}: cannot assign to 'loop' inside of a for", target.line);
  }

  Result<void> visit(Set& node, Frame frame) {
    TRY(check_target(node.target));
    bind(node.target, frame.symbols);
    return bind(node.value, frame);
  }

  Result<void> visit(SetBlock& node, Frame frame) {
    TRY(check_target(node.target));
    bind(node.target, frame.symbols);
    return visit_captured(node, frame);
  }

  Result<void> visit(FilterBlock& node, Frame frame) { return visit_captured(node, frame); }

  // A body whose text goes through a filter.
  template <typename Node>
  Result<void> visit_captured(Node& node, Frame frame) {
    Symbols inner(&frame.symbols, frame.symbols.function(), frame.symbols.level() + 1);
    Collector collector(inner);
    collector.body(node.body);
    collector.expression(node.filter);
    TRY(body(node.body, {inner, Branch::kAlways}));
    TRY(bind(node.filter, {inner, Branch::kAlways}));
    node.scope = inner.scope();
    return {};
  }

  Result<void> visit(With& node, Frame frame) {
    Symbols inner(&frame.symbols, frame.symbols.function(), frame.symbols.level() + 1);
    for (auto& [target, value] : node.assignments) {
      each_name(target, [&](Name& name) { inner.parameter(name.name); });
    }
    Collector(inner).body(node.body);
    for (auto& [target, value] : node.assignments) {
      bind(target, inner);
      TRY(bind(value, frame));
    }
    TRY(body(node.body, {inner, Branch::kAlways}));
    node.scope = inner.scope();
    return {};
  }

  Result<void> visit(For& node, Frame frame) {
    TRY(bind(node.iterable, frame));
    ++loops_;
    TRY(check_target(node.target));
    FunctionNames own{.outer = &frame.symbols.function(),
                      .depth = frame.symbols.function().depth + 1,
                      .function = &node.function};
    if (node.is_recursive) capture(own.outer);
    FunctionNames& function = node.is_recursive ? own : frame.symbols.function();
    const int level = frame.symbols.level() + 1;

    Symbols inner(&frame.symbols, function, level);
    if (node.is_recursive || loaded_names(node.body, {"loop"}).contains("loop")) {
      node.loop = SlotRef{0, inner.parameter("loop")};
    }
    each_name(node.target, [&](Name& name) { inner.parameter(name.name); });
    Collector(inner).body(node.body);
    Symbols otherwise(&frame.symbols, function, level);
    Collector(otherwise).body(node.otherwise);
    TRY(bind_filter(node, frame, function));

    bind(node.target, inner);
    TRY(body(node.body, {inner, Branch::kAlways}));
    TRY(body(node.otherwise, {otherwise, Branch::kAlways}));
    node.scope = inner.scope();
    node.else_scope = otherwise.scope();
    --loops_;
    return {};
  }

  // The filter of a loop has variables of its own: it may run ahead of the loop's body.
  Result<void> bind_filter(For& node, Frame frame, FunctionNames& function) {
    if (node.filter == nullptr) return {};
    Symbols filter(&frame.symbols, function, -(frame.symbols.level() + 1));
    each_name(node.filter_target, [&](Name& name) { filter.parameter(name.name); });
    Collector(filter).expression(node.filter);
    bind(node.filter_target, filter);
    TRY(bind(node.filter, {filter, Branch::kAlways}));
    node.filter_scope = filter.scope();
    return {};
  }

  // Something inside of the function can outlive its run.
  static void capture(FunctionNames* names) {
    for (; names != nullptr; names = names->outer) names->function->is_captured = true;
  }

  Result<void> visit(MacroDefinition& node, Frame frame) {
    bind(node.target, frame.symbols);
    return code(*node.code, frame);
  }

  Result<void> visit(CallBlock& node, Frame frame) {
    TRY(code(*node.caller, frame));
    return bind(node.call, frame);
  }

  Result<void> code(MacroCode& code, Frame frame) {
    FunctionNames function{.outer = &frame.symbols.function(),
                           .depth = frame.symbols.function().depth + 1,
                           .function = &code.function};
    capture(&frame.symbols.function());
    Symbols inner(&frame.symbols, function, frame.symbols.level() + 1);
    for (MacroCode::Parameter& parameter : code.parameters) {
      parameter.slot = inner.parameter(parameter.name);
    }
    Collector collector(inner);
    for (MacroCode::Parameter& parameter : code.parameters) {
      collector.expression(parameter.otherwise);
    }
    collector.body(code.body);
    TRY(declare_special(code, inner));
    for (MacroCode::Parameter& parameter : code.parameters) {
      TRY(bind(parameter.otherwise, {inner, Branch::kAlways}));
    }
    TRY(body(code.body, {inner, Branch::kAlways}));
    code.scope = inner.scope();
    return {};
  }

  // caller, kwargs and varargs are parameters of every macro whose body uses them.
  Result<void> declare_special(MacroCode& code, Symbols& symbols) {
    const auto loaded = loaded_names(code.body, {"caller", "kwargs", "varargs"});
    const auto parameter = [&](std::string_view name) {
      return std::ranges::find(code.parameters, name, &MacroCode::Parameter::name);
    };
    const auto none = code.parameters.end();
    if (loaded.contains("caller")) {
      code.has_caller = true;
      const auto named = parameter("caller");
      if (named == none) {
        code.caller_slot = symbols.parameter("caller");
      } else if (named->otherwise == nullptr) {
        return core::invalid("macro '{}': the parameter 'caller' needs a default", code.name);
      }
    }
    if (loaded.contains("kwargs") && parameter("kwargs") == none) {
      code.kwargs_slot = symbols.parameter("kwargs");
    }
    if (loaded.contains("varargs") && parameter("varargs") == none) {
      code.varargs_slot = symbols.parameter("varargs");
    }
    return {};
  }

  int loops_ = 0;  // around the current statement
};

}  // namespace

Result<void> bind_names(Program& program) {
  return Binder().program(program);
}

}  // namespace sluice::jinja
