// The children of an expression and the names in a target, in the order of the source.
#pragma once

#include "jinja/ast.h"

namespace sluice::jinja {

// visit(Expr&) for each child of the node; not for null ones.
template <typename Visit>
class ChildVisitor {
 public:
  explicit ChildVisitor(Visit& visit) : visit_(visit) {}

  void operator()(Constant&) {}
  void operator()(Name&) {}
  void operator()(ListLiteral& node) { each(node.items); }
  void operator()(DictLiteral& node) {
    for (auto& [key, value] : node.entries) {
      one(key);
      one(value);
    }
  }
  void operator()(Unary& node) { one(node.operand); }
  void operator()(Binary& node) {
    one(node.left);
    one(node.right);
  }
  void operator()(Logic& node) {
    one(node.left);
    one(node.right);
  }
  void operator()(Compare& node) {
    one(node.first);
    for (auto& [op, right] : node.rest) one(right);
  }
  void operator()(Concat& node) { each(node.parts); }
  void operator()(Conditional& node) {
    one(node.condition);
    one(node.then);
    one(node.otherwise);
  }
  void operator()(Attribute& node) { one(node.object); }
  void operator()(Subscript& node) {
    one(node.object);
    one(node.key);
  }
  void operator()(Slice& node) {
    one(node.object);
    one(node.start);
    one(node.stop);
    one(node.step);
  }
  void operator()(Call& node) {
    one(node.callee);
    arguments(node.arguments);
  }
  void operator()(Filter& node) {
    one(node.input);
    arguments(node.arguments);
  }
  void operator()(Test& node) {
    one(node.input);
    arguments(node.arguments);
  }

 private:
  void one(ExprPtr& child) {
    if (child != nullptr) visit_(*child);
  }
  void each(std::vector<ExprPtr>& children) {
    for (ExprPtr& child : children) one(child);
  }
  void arguments(CallArguments& all) {
    each(all.positional);
    for (auto& [name, value] : all.named) one(value);
    one(all.star);
    one(all.double_star);
  }

  Visit& visit_;
};

template <typename Visit>
void each_child(Expr& expr, Visit visit) {
  std::visit(ChildVisitor<Visit>(visit), expr.node);
}

// visit(Name&) for each variable that the target assigns.
template <typename Visit>
void each_name(Target& target, Visit visit) {
  if (auto* name = std::get_if<Name>(&target.to)) visit(*name);
  if (auto* several = std::get_if<std::vector<Target>>(&target.to)) {
    for (Target& one : *several) each_name(one, visit);
  }
}

// visit(NamespaceTarget&) for each attribute that the target assigns.
template <typename Visit>
void each_namespace(Target& target, Visit visit) {
  if (auto* object = std::get_if<NamespaceTarget>(&target.to)) visit(*object);
  if (auto* several = std::get_if<std::vector<Target>>(&target.to)) {
    for (Target& one : *several) each_namespace(one, visit);
  }
}

}  // namespace sluice::jinja
