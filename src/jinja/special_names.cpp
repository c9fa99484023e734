#include "jinja/special_names.h"

#include "jinja/ast_walk.h"

namespace sluice::jinja {
namespace {

class SpecialNames {
 public:
  explicit SpecialNames(std::initializer_list<std::string_view> names)
      : open_(names.begin(), names.end()) {}

  const std::set<std::string, std::less<>>& loaded() const { return loaded_; }

  void body(Body& body) {
    for (Statement& statement : body) {
      std::visit([&](auto& node) { visit(node); }, statement.node);
    }
  }

 private:
  void expression(const ExprPtr& expr) {
    if (expr != nullptr) expression(*expr);
  }
  void expression(Expr& expr) {
    auto* name = std::get_if<Name>(&expr.node);
    if (name != nullptr && open_.contains(name->name)) loaded_.insert(name->name);
    each_child(expr, [&](Expr& child) { expression(child); });
  }
  void store(Target& target) {
    each_name(target, [&](Name& name) { open_.erase(name.name); });
  }
  void visit(TextOutput&) {}
  void visit(Break&) {}
  void visit(Continue&) {}
  void visit(Print& node) { expression(node.value); }
  void visit(For& node) {
    store(node.target);
    expression(node.iterable);
    body(node.body);
    body(node.otherwise);
    expression(node.filter);
  }
  void visit(Set& node) {
    store(node.target);
    expression(node.value);
  }
  void visit(SetBlock& node) {
    store(node.target);
    expression(node.filter);
    body(node.body);
  }
  void visit(FilterBlock& node) {
    body(node.body);
    expression(node.filter);
  }
  void visit(With& node) {
    for (auto& [target, value] : node.assignments) store(target);
    for (auto& [target, value] : node.assignments) expression(value);
    body(node.body);
  }
  void visit(MacroDefinition& node) { code(*node.code); }
  void visit(CallBlock& node) {
    expression(node.call);
    code(*node.caller);
  }
  void code(MacroCode& code) {
    for (MacroCode::Parameter& parameter : code.parameters) open_.erase(parameter.name);
    for (MacroCode::Parameter& parameter : code.parameters) expression(parameter.otherwise);
    body(code.body);
  }
  void visit(If& node) {
    for (If::Branch& branch : node.branches) {
      expression(branch.condition);
      body(branch.body);
    }
    body(node.otherwise);
  }

  std::set<std::string, std::less<>> open_;  // not stored yet
  std::set<std::string, std::less<>> loaded_;
};

}  // namespace

std::set<std::string, std::less<>> loaded_names(Body& body,
                                                std::initializer_list<std::string_view> names) {
  SpecialNames special(names);
  special.body(body);
  return special.loaded();
}

}  // namespace sluice::jinja
