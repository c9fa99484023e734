#include "jinja/expression_parser.h"

#include <algorithm>
#include <array>

#include "jinja/ast_walk.h"
#include "jinja/parser.h"

namespace sluice::jinja {

using core::Error;
using core::Result;

namespace {

// Names of jinja2 that this engine does not have.
constexpr std::string_view kUnsupportedFilters[] = {"pprint",  "random",   "urlize",
                                                    "xmlattr", "wordwrap", "striptags"};

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kName:
    case TokenKind::kOp:
      return fmt::format("'{}'", token.text);
    case TokenKind::kString:
      return "a string";
    case TokenKind::kInteger:
    case TokenKind::kReal:
      return "a number";
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kEnd:
      return "end of template";
  }
  return "a token";
}

// Names that are constants and cannot be assigned to.
bool is_constant_name(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {"true", "false", "none",
                                                      "True", "False", "None"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Name make_name(std::string name) {
  Value undefined = Value::undefined(fmt::format("'{}' is undefined", name));
  return {.name = std::move(name), .slot = {}, .undefined = std::move(undefined)};
}

}  // namespace

const Token& TokenStream::next() {
  const Token& token = current();
  if (token.kind != TokenKind::kEnd) ++next_;
  return token;
}

Result<void> TokenStream::expect(TokenKind kind, std::string_view what) {
  if (!at(kind)) return error(fmt::format("expected {}, got {}", what, describe(current())));
  next();
  return {};
}

Result<void> TokenStream::expect_name(std::string_view name) {
  if (!at_name(name)) return error(fmt::format("expected '{}', got {}", name, describe(current())));
  next();
  return {};
}

Result<void> TokenStream::expect_op(std::string_view op) {
  if (!at_op(op)) return error(fmt::format("expected '{}', got {}", op, describe(current())));
  next();
  return {};
}

Result<void> TokenStream::enter() {
  if (++depth_ <= kNestingMax) return {};
  Error error = this->error(fmt::format("nested deeper than {} levels", kNestingMax));
  error.code = core::ErrorCode::kLimit;
  return error;
}

Result<ExprPtr> ExpressionParser::make(int line, Expr::Node node) {
  auto expr = std::make_unique<Expr>(Expr{.line = line, .depth = 1, .node = std::move(node)});
  each_child(*expr, [&](Expr& child) { expr->depth = std::max(expr->depth, child.depth + 1); });
  if (expr->depth > kNestingMax) {
    Error error = tokens_.error(fmt::format("expression deeper than {} levels", kNestingMax));
    error.code = core::ErrorCode::kLimit;
    return error;
  }
  return expr;
}

Result<ExprPtr> ExpressionParser::parse() {
  return parse_conditional();
}

Result<ExprPtr> ExpressionParser::parse_tuple(TupleOptions options) {
  const int line = tokens_.current().at.line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    const bool at_end = tokens_.at(TokenKind::kVariableEnd) || tokens_.at(TokenKind::kBlockEnd) ||
                        tokens_.at_op(")") || tokens_.at_name(options.end_name);
    if (at_end) break;
    items.push_back(options.with_conditional ? TRY(parse()) : TRY(parse_or()));
    if (!tokens_.skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (!is_tuple && !options.may_be_empty) {
    return tokens_.error(
        fmt::format("expected an expression, got {}", describe(tokens_.current())));
  }
  return make(line, ListLiteral{std::move(items), ListKind::kTuple});
}

Result<ExprPtr> ExpressionParser::parse_conditional() {
  TRY(tokens_.enter());
  const int line = tokens_.current().at.line;
  ExprPtr value = TRY(parse_or());
  while (tokens_.skip_name("if")) {
    ExprPtr condition = TRY(parse_or());
    ExprPtr otherwise;
    if (tokens_.skip_name("else")) otherwise = TRY(parse_conditional());
    value =
        TRY(make(line, Conditional{std::move(condition), std::move(value), std::move(otherwise)}));
  }
  tokens_.leave();
  return value;
}

Result<ExprPtr> ExpressionParser::parse_or() {
  const int line = tokens_.current().at.line;
  ExprPtr left = TRY(parse_and());
  while (tokens_.skip_name("or")) {
    ExprPtr right = TRY(parse_and());
    left = TRY(make(line, Logic{LogicOp::kLogicalOr, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_and() {
  const int line = tokens_.current().at.line;
  ExprPtr left = TRY(parse_not());
  while (tokens_.skip_name("and")) {
    ExprPtr right = TRY(parse_not());
    left = TRY(make(line, Logic{LogicOp::kLogicalAnd, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_not() {
  if (!tokens_.at_name("not")) return parse_compare();
  TRY(tokens_.enter());
  const int line = tokens_.next().at.line;
  ExprPtr operand = TRY(parse_not());
  tokens_.leave();
  return make(line, Unary{UnaryOp::kLogicalNot, std::move(operand)});
}

Result<ExprPtr> ExpressionParser::parse_compare() {
  static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual},
  };
  const auto take_operator = [&]() -> std::optional<CompareOp> {
    for (const auto& [symbol, op] : kOperators) {
      if (tokens_.skip_op(symbol)) return op;
    }
    if (tokens_.skip_name("in")) return CompareOp::kIn;
    const Token& ahead = tokens_.ahead();
    if (!tokens_.at_name("not") || ahead.kind != TokenKind::kName || ahead.text != "in") {
      return std::nullopt;
    }
    tokens_.next();
    tokens_.next();
    return CompareOp::kNotIn;
  };
  const int line = tokens_.current().at.line;
  Compare compare;
  compare.first = TRY(parse_sum());
  while (const auto op = take_operator()) compare.rest.emplace_back(*op, TRY(parse_sum()));
  if (compare.rest.empty()) return std::move(compare.first);
  return make(line, std::move(compare));
}

Result<ExprPtr> ExpressionParser::parse_sum() {
  const int line = tokens_.current().at.line;
  ExprPtr left = TRY(parse_concat());
  while (tokens_.at_op("+") || tokens_.at_op("-")) {
    const BinaryOp op = tokens_.next().text == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract;
    ExprPtr right = TRY(parse_concat());
    left = TRY(make(line, Binary{op, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_concat() {
  const int line = tokens_.current().at.line;
  Concat concat;
  do {
    concat.parts.push_back(TRY(parse_product()));
  } while (tokens_.skip_op("~"));
  if (concat.parts.size() == 1) return std::move(concat.parts[0]);
  return make(line, std::move(concat));
}

Result<ExprPtr> ExpressionParser::parse_product() {
  static constexpr std::pair<std::string_view, BinaryOp> kOperators[] = {
      {"*", BinaryOp::kMultiply},
      {"/", BinaryOp::kDivide},
      {"//", BinaryOp::kFloorDivide},
      {"%", BinaryOp::kModulo},
  };
  const auto take_operator = [&]() -> std::optional<BinaryOp> {
    for (const auto& [symbol, op] : kOperators) {
      if (tokens_.skip_op(symbol)) return op;
    }
    return std::nullopt;
  };
  const int line = tokens_.current().at.line;
  ExprPtr left = TRY(parse_power());
  while (const auto op = take_operator()) {
    ExprPtr right = TRY(parse_power());
    left = TRY(make(line, Binary{*op, std::move(left), std::move(right)}));
  }
  return left;
}

// Groups to the left, unlike Python's.
Result<ExprPtr> ExpressionParser::parse_power() {
  const int line = tokens_.current().at.line;
  ExprPtr left = TRY(parse_unary());
  while (tokens_.skip_op("**")) {
    ExprPtr right = TRY(parse_unary());
    left = TRY(make(line, Binary{BinaryOp::kPower, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_unary() {
  return parse_suffixes(TRY(parse_signed()));
}

Result<ExprPtr> ExpressionParser::parse_signed() {
  if (!tokens_.at_op("-") && !tokens_.at_op("+")) return parse_postfix(TRY(parse_primary()));
  TRY(tokens_.enter());
  const Token& sign = tokens_.next();
  const UnaryOp op = sign.text == "-" ? UnaryOp::kNegative : UnaryOp::kPositive;
  ExprPtr operand = TRY(parse_signed());
  ExprPtr node = TRY(make(sign.at.line, Unary{op, std::move(operand)}));
  tokens_.leave();
  return parse_postfix(std::move(node));
}

Result<ExprPtr> ExpressionParser::parse_primary() {
  const Token& token = tokens_.current();
  const int line = token.at.line;
  switch (token.kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString: {
      std::string text;
      while (tokens_.at(TokenKind::kString)) text += tokens_.next().text;
      return make(line, Constant{Value::string(std::move(text))});
    }
    case TokenKind::kInteger:
      return make(line, Constant{Value::integer(tokens_.next().integer)});
    case TokenKind::kReal:
      return make(line, Constant{Value::real(tokens_.next().real)});
    default:
      break;
  }
  if (tokens_.at_op("[")) return parse_list();
  if (tokens_.at_op("{")) return parse_dict();
  if (!tokens_.skip_op("(")) return tokens_.error(fmt::format("unexpected {}", describe(token)));
  ExprPtr inside = TRY(parse_tuple({.may_be_empty = true}));
  TRY(tokens_.expect_op(")"));
  return inside;
}

Result<ExprPtr> ExpressionParser::parse_name() {
  const Token& token = tokens_.next();
  const int line = token.at.line;
  if (!is_constant_name(token.text)) return make(line, make_name(token.text));
  const char first = static_cast<char>(token.text[0] | 32);
  if (first == 'n') return make(line, Constant{Value::none()});
  return make(line, Constant{Value::boolean(first == 't')});
}

Result<ExprPtr> ExpressionParser::parse_list() {
  const int line = tokens_.next().at.line;
  ListLiteral list;
  while (!tokens_.at_op("]")) {
    if (!list.items.empty()) TRY(tokens_.expect_op(","));
    if (tokens_.at_op("]")) break;
    list.items.push_back(TRY(parse()));
  }
  tokens_.next();
  return make(line, std::move(list));
}

Result<ExprPtr> ExpressionParser::parse_dict() {
  const int line = tokens_.next().at.line;
  DictLiteral dict;
  while (!tokens_.at_op("}")) {
    if (!dict.entries.empty()) TRY(tokens_.expect_op(","));
    if (tokens_.at_op("}")) break;
    ExprPtr key = TRY(parse());
    TRY(tokens_.expect_op(":"));
    dict.entries.emplace_back(std::move(key), TRY(parse()));
  }
  tokens_.next();
  return make(line, std::move(dict));
}

Result<ExprPtr> ExpressionParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (tokens_.at_op(".")) {
      expr = TRY(parse_dot(std::move(expr)));
    } else if (tokens_.at_op("[")) {
      expr = TRY(parse_brackets(std::move(expr)));
    } else if (tokens_.at_op("(")) {
      expr = TRY(parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExpressionParser::parse_dot(ExprPtr object) {
  const int line = tokens_.next().at.line;
  if (tokens_.at(TokenKind::kInteger)) {
    ExprPtr index = TRY(make(line, Constant{Value::integer(tokens_.next().integer)}));
    return make(line, Subscript{std::move(object), std::move(index)});
  }
  if (!tokens_.at(TokenKind::kName)) return tokens_.error("expected a name or number after '.'");
  const std::string& name = tokens_.next().text;
  return make(line, Attribute{.object = std::move(object),
                              .name = Value::string(name),
                              .missing_in_dict = Value::undefined(
                                  fmt::format("'dict object' has no attribute '{}'", name)),
                              .methods = find_methods(name)});
}

Result<ExprPtr> ExpressionParser::parse_brackets(ExprPtr object) {
  const int line = tokens_.next().at.line;
  if (tokens_.at_op(":")) return parse_slice(std::move(object), nullptr);
  ExprPtr key =
      tokens_.at_op("]") ? TRY(make(line, ListLiteral{{}, ListKind::kTuple})) : TRY(parse());
  if (tokens_.at_op(":")) return parse_slice(std::move(object), std::move(key));
  if (tokens_.at_op(",")) {
    ListLiteral keys{.items = {}, .kind = ListKind::kTuple};
    keys.items.push_back(std::move(key));
    while (!tokens_.at_op("]")) {
      TRY(tokens_.expect_op(","));
      keys.items.push_back(TRY(parse()));
    }
    key = TRY(make(line, std::move(keys)));
  }
  TRY(tokens_.expect_op("]"));
  return make(line, Subscript{std::move(object), std::move(key)});
}

// "[start:stop:step]" from the first colon on.
Result<ExprPtr> ExpressionParser::parse_slice(ExprPtr object, ExprPtr start) {
  const int line = tokens_.next().at.line;
  Slice slice{.object = std::move(object), .start = std::move(start), .stop = {}, .step = {}};
  if (!tokens_.at_op(":") && !tokens_.at_op("]")) slice.stop = TRY(parse());
  if (tokens_.skip_op(":") && !tokens_.at_op("]")) slice.step = TRY(parse());
  TRY(tokens_.expect_op("]"));
  return make(line, std::move(slice));
}

// Filters, tests and calls behind an operand.
Result<ExprPtr> ExpressionParser::parse_suffixes(ExprPtr expr) {
  while (true) {
    if (tokens_.at_op("|")) {
      tokens_.next();
      expr = TRY(parse_one_filter(std::move(expr)));
    } else if (tokens_.at_name("is")) {
      expr = TRY(parse_test(std::move(expr)));
    } else if (tokens_.at_op("(")) {
      expr = TRY(parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> ExpressionParser::parse_call(ExprPtr callee) {
  const int line = tokens_.current().at.line;
  CallArguments arguments = TRY(parse_arguments());
  return make(line, Call{std::move(callee), std::move(arguments)});
}

Result<CallArguments> ExpressionParser::parse_arguments() {
  TRY(tokens_.expect_op("("));
  CallArguments arguments;
  bool first = true;
  while (!tokens_.at_op(")")) {
    if (!first) TRY(tokens_.expect_op(","));
    if (!first && tokens_.at_op(")")) break;
    first = false;
    const bool after_double_star = arguments.double_star != nullptr;
    const bool after_star = arguments.star != nullptr || after_double_star;
    const bool is_named = tokens_.at(TokenKind::kName) && tokens_.ahead().kind == TokenKind::kOp &&
                          tokens_.ahead().text == "=";
    if (after_double_star || (after_star && !is_named && !tokens_.at_op("**"))) {
      return tokens_.error("an argument may not follow '*' or '**'");
    }
    if (tokens_.skip_op("*")) {
      arguments.star = TRY(parse());
    } else if (tokens_.skip_op("**")) {
      arguments.double_star = TRY(parse());
    } else if (is_named) {
      std::string name = tokens_.next().text;
      tokens_.next();
      for (const auto& [earlier, value] : arguments.named) {
        if (earlier == name) return tokens_.error(fmt::format("argument '{}' is repeated", name));
      }
      arguments.named.emplace_back(std::move(name), TRY(parse()));
    } else {
      if (!arguments.named.empty()) return tokens_.error("an argument follows a named one");
      arguments.positional.push_back(TRY(parse()));
    }
  }
  tokens_.next();
  return arguments;
}

Result<std::string> ExpressionParser::parse_dotted_name() {
  std::string name;
  do {
    if (!tokens_.at(TokenKind::kName)) {
      return tokens_.error(fmt::format("expected a name, got {}", describe(tokens_.current())));
    }
    if (!name.empty()) name += '.';
    name += tokens_.next().text;
  } while (tokens_.skip_op("."));
  return name;
}

Result<ExprPtr> ExpressionParser::parse_one_filter(ExprPtr input) {
  const int line = tokens_.current().at.line;
  Filter filter;
  filter.input = std::move(input);
  const Position at = tokens_.current().at;
  filter.name = TRY(parse_dotted_name());
  if (std::ranges::find(kUnsupportedFilters, filter.name) != std::end(kUnsupportedFilters)) {
    Error error = syntax_error(at, fmt::format("the filter '{}' is not supported", filter.name));
    error.code = core::ErrorCode::kUnsupported;
    return error;
  }
  filter.function = find_filter(filter.name);
  if (tokens_.at_op("(")) filter.arguments = TRY(parse_arguments());
  return make(line, std::move(filter));
}

Result<ExprPtr> ExpressionParser::parse_filters(ExprPtr input) {
  while (tokens_.skip_op("|")) input = TRY(parse_one_filter(std::move(input)));
  return input;
}

Result<ExprPtr> ExpressionParser::parse_filter_chain() {
  return parse_filters(TRY(parse_one_filter(nullptr)));
}

Result<ExprPtr> ExpressionParser::parse_test(ExprPtr input) {
  const int line = tokens_.next().at.line;
  const bool negated = tokens_.skip_name("not");
  Test test;
  test.input = std::move(input);
  test.name = TRY(parse_dotted_name());
  test.function = find_test(test.name);
  const bool ends_here = tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and");
  const bool operand_follows = tokens_.at(TokenKind::kName) || tokens_.at(TokenKind::kString) ||
                               tokens_.at(TokenKind::kInteger) || tokens_.at(TokenKind::kReal) ||
                               tokens_.at_op("[") || tokens_.at_op("{");
  if (tokens_.at_op("(")) {
    test.arguments = TRY(parse_arguments());
  } else if (operand_follows && !ends_here) {
    if (tokens_.at_name("is")) return tokens_.error("tests cannot be chained with 'is'");
    ExprPtr operand = TRY(parse_primary());
    test.arguments.positional.push_back(TRY(parse_postfix(std::move(operand))));
  }
  ExprPtr node = TRY(make(line, std::move(test)));
  if (!negated) return node;
  return make(line, Unary{UnaryOp::kLogicalNot, std::move(node)});
}

Result<std::string> ExpressionParser::parse_target_name() {
  if (!tokens_.at(TokenKind::kName)) {
    return tokens_.error(fmt::format("expected a name, got {}", describe(tokens_.current())));
  }
  if (is_constant_name(tokens_.current().text)) {
    return tokens_.error(fmt::format("cannot assign to '{}'", tokens_.current().text));
  }
  return tokens_.next().text;
}

Result<Target> ExpressionParser::parse_one_target(TargetOptions options) {
  TRY(tokens_.enter());
  const int line = tokens_.current().at.line;
  Target target{.line = line, .to = {}};
  if (tokens_.skip_op("(")) {
    target = TRY(parse_target({.end_name = ")", .with_namespace = options.with_namespace}));
    TRY(tokens_.expect_op(")"));
  } else {
    std::string name = TRY(parse_target_name());
    if (options.with_namespace && tokens_.skip_op(".")) {
      if (!tokens_.at(TokenKind::kName)) return tokens_.error("expected a name after '.'");
      target.to = NamespaceTarget{make_name(std::move(name)), Value::string(tokens_.next().text)};
    } else {
      target.to = make_name(std::move(name));
    }
  }
  tokens_.leave();
  return target;
}

// "a", "a, b", "(a, (b, c))"
Result<Target> ExpressionParser::parse_target(TargetOptions options) {
  const int line = tokens_.current().at.line;
  std::vector<Target> targets;
  bool is_tuple = false;
  while (true) {
    const bool at_end = tokens_.at(TokenKind::kBlockEnd) || tokens_.at_op(")") ||
                        tokens_.at_op("=") || tokens_.at_name(options.end_name);
    if (at_end) break;
    targets.push_back(TRY(parse_one_target(options)));
    if (!tokens_.skip_op(",")) break;
    is_tuple = true;
  }
  if (targets.empty()) return tokens_.error("expected the name of a variable");
  if (!is_tuple) return std::move(targets[0]);
  return Target{.line = line, .to = std::move(targets)};
}

Target copy_target(const Target& target) {
  Target copy{.line = target.line, .to = {}};
  if (const auto* name = std::get_if<Name>(&target.to)) copy.to = *name;
  if (const auto* object = std::get_if<NamespaceTarget>(&target.to)) copy.to = *object;
  if (const auto* several = std::get_if<std::vector<Target>>(&target.to)) {
    std::vector<Target> copies;
    for (const Target& one : *several) copies.push_back(copy_target(one));
    copy.to = std::move(copies);
  }
  return copy;
}

}  // namespace sluice::jinja
