// The expressions of a template, and the token stream that the statement parser shares with them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace sluice::jinja {

class TokenStream {
 public:
  // The tokens end with one of kind `end`, which is never passed.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[std::min(next_ + 1, tokens_.size() - 1)]; }
  // The current token; the stream moves on.
  const Token& next();

  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_name(std::string_view name) const {
    return at(TokenKind::kName) && current().text == name;
  }
  bool at_op(std::string_view op) const { return at(TokenKind::kOp) && current().text == op; }
  bool skip_name(std::string_view name) { return at_name(name) && (next(), true); }
  bool skip_op(std::string_view op) { return at_op(op) && (next(), true); }

  core::Result<void> expect(TokenKind kind, std::string_view what);
  core::Result<void> expect_name(std::string_view name);
  core::Result<void> expect_op(std::string_view op);

  // At the current token.
  core::Error error(std::string_view message) const { return syntax_error(current().at, message); }

  // Counts nested constructs; an error over kNestingMax.
  core::Result<void> enter();
  void leave() { --depth_; }

 private:
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  core::Result<ExprPtr> parse();

  struct TupleOptions {
    bool with_conditional = true;  // `a if b` may follow
    std::string_view end_name{};   // a name that ends the tuple
    bool may_be_empty = false;     // "()"
  };
  // An expression, or several with commas between: a tuple.
  core::Result<ExprPtr> parse_tuple(TupleOptions options);
  core::Result<ExprPtr> parse_tuple() { return parse_tuple(TupleOptions{}); }

  struct TargetOptions {
    std::string_view end_name{};
    bool with_namespace = false;  // ns.attribute is allowed
  };
  core::Result<Target> parse_target(TargetOptions options);
  core::Result<std::string> parse_target_name();

  // "| a | b(1)" behind an input, which may be null. Returns the input where no filter follows.
  core::Result<ExprPtr> parse_filters(ExprPtr input);
  // "a | b(1)" of {% filter a | b(1) %}.
  core::Result<ExprPtr> parse_filter_chain();

 private:
  core::Result<ExprPtr> parse_conditional();
  core::Result<ExprPtr> parse_or();
  core::Result<ExprPtr> parse_and();
  core::Result<ExprPtr> parse_not();
  core::Result<ExprPtr> parse_compare();
  core::Result<ExprPtr> parse_sum();
  core::Result<ExprPtr> parse_concat();
  core::Result<ExprPtr> parse_product();
  core::Result<ExprPtr> parse_power();
  core::Result<ExprPtr> parse_unary();
  core::Result<ExprPtr> parse_signed();
  core::Result<ExprPtr> parse_primary();
  core::Result<ExprPtr> parse_name();
  core::Result<ExprPtr> parse_list();
  core::Result<ExprPtr> parse_dict();
  core::Result<ExprPtr> parse_postfix(ExprPtr expr);
  core::Result<ExprPtr> parse_dot(ExprPtr object);
  core::Result<ExprPtr> parse_brackets(ExprPtr object);
  core::Result<ExprPtr> parse_slice(ExprPtr object, ExprPtr start);
  core::Result<ExprPtr> parse_suffixes(ExprPtr expr);
  core::Result<ExprPtr> parse_call(ExprPtr callee);
  core::Result<CallArguments> parse_arguments();
  core::Result<ExprPtr> parse_one_filter(ExprPtr input);
  core::Result<ExprPtr> parse_test(ExprPtr input);
  core::Result<std::string> parse_dotted_name();
  core::Result<Target> parse_one_target(TargetOptions options);

  core::Result<ExprPtr> make(int line, Expr::Node node);

  TokenStream& tokens_;
};

// A second, independent copy of the names in a target.
Target copy_target(const Target& target);

}  // namespace sluice::jinja
