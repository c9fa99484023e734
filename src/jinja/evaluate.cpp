// Expressions.
#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/text.h"

namespace sluice::jinja {

using core::Result;

Result<Value> Render::eval(const Expr& expr) {
  const Depth depth(*this);
  TRY(depth.check());
  TRY(charge(1));
  Result<Value> value = std::visit([&](const auto& node) { return eval_node(node); }, expr.node);
  if (!value.ok()) note_line(expr.line);
  return value;
}

// Templates may nest values into values without end; printing, comparing and freeing those
// recurses.
Result<Value> Render::checked_depth(Value value) const {
  if (nesting_depth(value) <= kValueDepthMax) return value;
  return core::Error{core::ErrorCode::kLimit,
                     fmt::format("lists and dicts nested deeper than {} levels", kValueDepthMax)};
}

Result<Value> Render::eval_node(const Name& node) {
  const Value& value = slot(node.slot);
  return value.is_missing() ? node.undefined : value;
}

Result<Value> Render::eval_node(const ListLiteral& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExprPtr& item : node.items) items.push_back(TRY(eval(*item)));
  return checked_depth(Value::list(List{.items = std::move(items), .kind = node.kind}));
}

Result<Value> Render::eval_node(const DictLiteral& node) {
  Dict dict;
  for (const auto& [key_node, value_node] : node.entries) {
    Value key = TRY(eval(*key_node));
    TRY(check_key(*this, key));
    Value value = TRY(eval(*value_node));
    dict.set(std::move(key), std::move(value));
  }
  return checked_depth(Value::dict(std::move(dict)));
}

Result<Value> Render::eval_node(const Unary& node) {
  return unary(node.op, TRY(eval(*node.operand)));
}

Result<Value> Render::eval_node(const Binary& node) {
  const Value left = TRY(eval(*node.left));
  const Value right = TRY(eval(*node.right));
  return binary(*this, node.op, left, right);
}

Result<Value> Render::eval_node(const Logic& node) {
  Value left = TRY(eval(*node.left));
  const bool decided = truth(left) == (node.op == LogicOp::kLogicalOr);
  if (decided) return left;
  return eval(*node.right);
}

Result<Value> Render::eval_node(const Compare& node) {
  Value left = TRY(eval(*node.first));
  for (const auto& [op, right_node] : node.rest) {
    Value right = TRY(eval(*right_node));
    if (!TRY(compare(*this, op, left, right))) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Render::eval_node(const Concat& node) {
  std::string text;
  for (const ExprPtr& part : node.parts) {
    const Value value = TRY(eval(*part));
    TRY(append_text(*this, text, value));  // charges what it appends
    TRY(check_string(std::ssize(text)));
  }
  return Value::string(std::move(text));
}

Result<Value> Render::eval_node(const Conditional& node) {
  if (truth(TRY(eval(*node.condition)))) return eval(*node.then);
  if (node.otherwise != nullptr) return eval(*node.otherwise);
  return Value::undefined("the inline if was false and has no else");
}

Result<Value> Render::eval_node(const Attribute& node) {
  return attribute(*this, TRY(eval(*node.object)), node);
}

Result<Value> Render::eval_node(const Subscript& node) {
  const Value object = TRY(eval(*node.object));
  return subscript(*this, object, TRY(eval(*node.key)));
}

Result<Value> Render::eval_node(const Slice& node) {
  const auto bound = [&](const ExprPtr& expr) -> Result<Value> {
    return expr == nullptr ? Result<Value>(Value::none()) : eval(*expr);
  };
  const Value object = TRY(eval(*node.object));
  const Value start = TRY(bound(node.start));
  const Value stop = TRY(bound(node.stop));
  const Value step = TRY(bound(node.step));
  return slice(*this, object, {.start = start, .stop = stop, .step = step});
}

Result<Value> Render::eval_node(const Call& node) {
  return call_node(node, nullptr);
}

// `caller` is what a call block hands over as the argument of that name.
Result<Value> Render::call_node(const Call& node, const Value* caller) {
  const auto arguments_with_caller = [&]() -> Result<Arguments> {
    Arguments arguments = TRY(eval_arguments(node.arguments));
    if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
    return arguments;
  };
  if (const auto* method_of = std::get_if<Attribute>(&node.callee->node)) {
    const Value object = TRY(eval(*method_of->object));
    const Native* method = method_of->methods.of(object);
    if (method != nullptr && method->code != nullptr) {
      const Arguments arguments = TRY(arguments_with_caller());
      return checked_depth(TRY(method->call(*this, object, arguments)));
    }
    const Value callee = TRY(attribute(*this, object, *method_of));
    const Arguments arguments = TRY(arguments_with_caller());
    return checked_depth(TRY(call(callee, arguments)));
  }
  const Value callee = TRY(eval(*node.callee));
  const Arguments arguments = TRY(arguments_with_caller());
  return checked_depth(TRY(call(callee, arguments)));
}

Result<Value> Render::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) return undefined_error(callee);
  if (!callee.is(Kind::kObject)) {
    return core::unsupported("'{}' object is not callable", type_name(callee));
  }
  return callee.as_object().call(*this, arguments);
}

Result<Arguments> Render::eval_arguments(const CallArguments& nodes) {
  Arguments arguments;
  arguments.positional.reserve(nodes.positional.size());
  for (const ExprPtr& node : nodes.positional) arguments.positional.push_back(TRY(eval(*node)));
  for (const auto& [name, node] : nodes.named) arguments.named.emplace_back(name, TRY(eval(*node)));
  if (nodes.star != nullptr) {
    const Value more = TRY(eval(*nodes.star));
    for (Value& value : TRY(collect(*this, more))) arguments.positional.push_back(std::move(value));
  }
  if (nodes.double_star == nullptr) return arguments;
  const Value more = TRY(eval(*nodes.double_star));
  if (!more.is(Kind::kDict)) {
    return core::unsupported("argument after ** must be a mapping, not {}", type_name(more));
  }
  for (const auto& [key, value] : more.as_dict().entries()) {
    if (!key.is_string()) return core::unsupported("keywords must be strings");
    TRY(charge(std::ssize(arguments.named)));
    for (const auto& [name, earlier] : arguments.named) {
      if (name == key.as_string()) {
        return core::unsupported("got multiple values for keyword argument '{}'", name);
      }
    }
    arguments.named.emplace_back(key.as_string(), value);
  }
  return arguments;
}

Result<Value> Render::eval_node(const Filter& node) {
  const Value input = node.input != nullptr ? TRY(eval(*node.input)) : Value::string(*captured_);
  if (node.function == nullptr) return core::unsupported("no filter named '{}'", node.name);
  const Arguments arguments = TRY(eval_arguments(node.arguments));
  return checked_depth(TRY(node.function->call(*this, input, arguments)));
}

Result<Value> Render::eval_node(const Test& node) {
  const Value input = TRY(eval(*node.input));
  if (node.function == nullptr) return core::unsupported("no test named '{}'", node.name);
  const Arguments arguments = TRY(eval_arguments(node.arguments));
  return node.function->call(*this, input, arguments);
}

}  // namespace sluice::jinja
