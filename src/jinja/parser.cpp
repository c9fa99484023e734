#include "jinja/parser.h"

#include "jinja/expression_parser.h"
#include "jinja/lexer.h"

namespace sluice::jinja {
namespace {

using core::Error;
using core::Result;

constexpr std::string_view kUnsupportedTags[] = {"include",    "import", "from", "extends", "block",
                                                 "autoescape", "trans",  "do",   "debug"};

class StatementParser {
 public:
  explicit StatementParser(TokenStream& tokens) : tokens_(tokens), expressions_(tokens) {}

  // Statements up to one of the tags (which stays the next token), or up to the end of the template
  // where none is named.
  Result<Body> parse_body(std::initializer_list<std::string_view> end_tags);

 private:
  Result<void> parse_statement(Body& body);
  Result<Statement::Node> parse_tag();
  Result<Body> parse_block(std::initializer_list<std::string_view> end_tags);
  Result<Statement::Node> parse_if();
  Result<Statement::Node> parse_for();
  Result<Statement::Node> parse_set();
  Result<Statement::Node> parse_with();
  Result<Statement::Node> parse_generation();
  Result<Statement::Node> parse_filter_block();
  Result<Statement::Node> parse_macro();
  Result<Statement::Node> parse_call_block();
  Result<Statement::Node> parse_loop_control();
  Result<void> parse_print(Body& body);
  Result<void> parse_signature(MacroCode& code);
  Result<Body> parse_function_body(std::initializer_list<std::string_view> end_tags);

  TokenStream& tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;  // around the current statement, within its function
};

Result<Body> StatementParser::parse_body(std::initializer_list<std::string_view> end_tags) {
  TRY(tokens_.enter());
  Body body;
  while (!tokens_.at(TokenKind::kEnd)) {
    const Token& token = tokens_.current();
    const int line = token.at.line;
    if (token.kind == TokenKind::kData) {
      body.push_back({line, TextOutput{tokens_.next().text}});
    } else if (token.kind == TokenKind::kVariableBegin) {
      tokens_.next();
      body.push_back({line, Print{TRY(expressions_.parse_tuple())}});
      TRY(tokens_.expect(TokenKind::kVariableEnd, "end of print statement"));
    } else {
      tokens_.next();  // block_begin
      for (const std::string_view tag : end_tags) {
        if (!tokens_.at_name(tag)) continue;
        tokens_.leave();
        return body;
      }
      TRY(parse_statement(body));
      TRY(tokens_.expect(TokenKind::kBlockEnd, "end of statement block"));
    }
  }
  if (end_tags.size() > 0) {
    return tokens_.error(
        fmt::format("unexpected end of template, '{}' is missing", *(end_tags.end() - 1)));
  }
  tokens_.leave();
  return body;
}

Result<void> StatementParser::parse_statement(Body& body) {
  if (tokens_.at_name("print")) return parse_print(body);
  const int line = tokens_.current().at.line;
  body.push_back({line, TRY(parse_tag())});
  return {};
}

Result<Statement::Node> StatementParser::parse_tag() {
  using ParseTag = Result<Statement::Node> (StatementParser::*)();
  static constexpr std::pair<std::string_view, ParseTag> kTags[] = {
      {"if", &StatementParser::parse_if},
      {"for", &StatementParser::parse_for},
      {"set", &StatementParser::parse_set},
      {"with", &StatementParser::parse_with},
      {"generation", &StatementParser::parse_generation},
      {"filter", &StatementParser::parse_filter_block},
      {"macro", &StatementParser::parse_macro},
      {"call", &StatementParser::parse_call_block},
      {"break", &StatementParser::parse_loop_control},
      {"continue", &StatementParser::parse_loop_control},
  };
  if (!tokens_.at(TokenKind::kName)) return tokens_.error("the name of a tag is missing");
  for (const auto& [name, parse] : kTags) {
    if (tokens_.at_name(name)) return (this->*parse)();
  }
  for (const std::string_view name : kUnsupportedTags) {
    if (!tokens_.at_name(name)) continue;
    Error error = tokens_.error(fmt::format("the tag '{}' is not supported", name));
    error.code = core::ErrorCode::kUnsupported;
    return error;
  }
  return tokens_.error(fmt::format("unknown tag '{}'", tokens_.current().text));
}

// The inside of a tag pair: from the end of the opening tag to the name in the closing one.
Result<Body> StatementParser::parse_block(std::initializer_list<std::string_view> end_tags) {
  tokens_.skip_op(":");
  TRY(tokens_.expect(TokenKind::kBlockEnd, "end of statement block"));
  return parse_body(end_tags);
}

// A body that runs as a function of its own: loops around it are none of its own.
Result<Body> StatementParser::parse_function_body(
    std::initializer_list<std::string_view> end_tags) {
  const int loops_outside = std::exchange(loops_, 0);
  Body body = TRY(parse_block(end_tags));
  tokens_.next();
  loops_ = loops_outside;
  return body;
}

Result<Statement::Node> StatementParser::parse_if() {
  If node;
  do {
    tokens_.next();  // if, elif
    ExprPtr condition = TRY(expressions_.parse_tuple({.with_conditional = false}));
    Body body = TRY(parse_block({"elif", "else", "endif"}));
    node.branches.push_back({std::move(condition), std::move(body)});
  } while (tokens_.at_name("elif"));
  if (tokens_.next().text == "else") {
    node.otherwise = TRY(parse_block({"endif"}));
    tokens_.next();
  }
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_for() {
  tokens_.next();
  For node;
  node.target = TRY(expressions_.parse_target({.end_name = "in"}));
  node.filter_target = copy_target(node.target);
  TRY(tokens_.expect_name("in"));
  node.iterable =
      TRY(expressions_.parse_tuple({.with_conditional = false, .end_name = "recursive"}));
  if (tokens_.skip_name("if")) node.filter = TRY(expressions_.parse());
  node.is_recursive = tokens_.skip_name("recursive");
  ++loops_;
  node.body = TRY(parse_block({"endfor", "else"}));
  --loops_;
  if (tokens_.next().text == "else") {
    // An own function where recursive, and not part of the loop in any case.
    const int loops_outside = node.is_recursive ? std::exchange(loops_, 0) : loops_;
    node.otherwise = TRY(parse_block({"endfor"}));
    loops_ = loops_outside;
    tokens_.next();
  }
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_set() {
  tokens_.next();
  Target target = TRY(expressions_.parse_target({.with_namespace = true}));
  if (tokens_.skip_op("=")) {
    ExprPtr value = TRY(expressions_.parse_tuple());
    return Statement::Node(Set{std::move(target), std::move(value)});
  }
  SetBlock node;
  node.target = std::move(target);
  node.filter = TRY(expressions_.parse_filters(nullptr));
  node.body = TRY(parse_block({"endset"}));
  tokens_.next();
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_with() {
  tokens_.next();
  With node;
  while (!tokens_.at(TokenKind::kBlockEnd)) {
    if (!node.assignments.empty()) TRY(tokens_.expect_op(","));
    Target target = TRY(expressions_.parse_target({}));
    TRY(tokens_.expect_op("="));
    node.assignments.emplace_back(std::move(target), TRY(expressions_.parse()));
  }
  node.body = TRY(parse_block({"endwith"}));
  tokens_.next();
  return Statement::Node(std::move(node));
}

// {% generation %} marks the assistant's text for training; here it is only a scope.
Result<Statement::Node> StatementParser::parse_generation() {
  tokens_.next();
  With node;
  node.body = TRY(parse_function_body({"endgeneration"}));
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_filter_block() {
  tokens_.next();
  FilterBlock node;
  node.filter = TRY(expressions_.parse_filter_chain());
  node.body = TRY(parse_block({"endfilter"}));
  tokens_.next();
  return Statement::Node(std::move(node));
}

Result<void> StatementParser::parse_signature(MacroCode& code) {
  TRY(tokens_.expect_op("("));
  while (!tokens_.at_op(")")) {
    if (!code.parameters.empty()) TRY(tokens_.expect_op(","));
    MacroCode::Parameter parameter;
    parameter.name = TRY(expressions_.parse_target_name());
    for (const MacroCode::Parameter& earlier : code.parameters) {
      if (earlier.name == parameter.name) {
        return tokens_.error(fmt::format("parameter '{}' is repeated", parameter.name));
      }
    }
    parameter.missing =
        Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name));
    if (tokens_.skip_op("=")) {
      parameter.otherwise = TRY(expressions_.parse());
    } else if (!code.parameters.empty() && code.parameters.back().otherwise != nullptr) {
      return tokens_.error("a parameter without default follows one with a default");
    }
    code.parameters.push_back(std::move(parameter));
  }
  return tokens_.expect_op(")");
}

Result<Statement::Node> StatementParser::parse_macro() {
  tokens_.next();
  MacroDefinition node{.target = {}, .code = std::make_unique<MacroCode>()};
  node.target.name = node.code->name = TRY(expressions_.parse_target_name());
  TRY(parse_signature(*node.code));
  node.code->body = TRY(parse_function_body({"endmacro"}));
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_call_block() {
  tokens_.next();
  CallBlock node{.call = nullptr, .caller = std::make_unique<MacroCode>()};
  if (tokens_.at_op("(")) TRY(parse_signature(*node.caller));
  node.call = TRY(expressions_.parse());
  if (!std::holds_alternative<Call>(node.call->node)) return tokens_.error("a call is expected");
  node.caller->body = TRY(parse_function_body({"endcall"}));
  return Statement::Node(std::move(node));
}

Result<Statement::Node> StatementParser::parse_loop_control() {
  if (loops_ == 0) {
    return tokens_.error(fmt::format("'{}' outside of a loop", tokens_.current().text));
  }
  if (tokens_.next().text == "break") return Statement::Node(Break{});
  return Statement::Node(Continue{});
}

// {% print a, b %}
Result<void> StatementParser::parse_print(Body& body) {
  const int line = tokens_.next().at.line;
  bool first = true;
  while (!tokens_.at(TokenKind::kBlockEnd)) {
    if (!first) TRY(tokens_.expect_op(","));
    first = false;
    body.push_back({line, Print{TRY(expressions_.parse())}});
  }
  return {};
}

}  // namespace

Result<Program> parse_program(std::string_view source) {
  TokenStream tokens(TRY(tokenize(source)));
  StatementParser parser(tokens);
  Program program;
  program.body = TRY(parser.parse_body({}));
  return program;
}

}  // namespace sluice::jinja
