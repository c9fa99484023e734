// Template source to tokens, with the whitespace rules of trim_blocks and lstrip_blocks applied.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::jinja {

struct Position {
  int line = 1;
  int column = 1;  // in bytes, from 1
};

enum class TokenKind {
  kData,           // text between the tags, in Token::text
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,   // unescaped, in Token::text
  kInteger,  // in Token::integer
  kReal,     // in Token::real
  kOp,       // an operator or bracket, in Token::text
  kEnd,      // of the template
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  Position at;
  std::string text;
  int64_t integer = 0;
  double real = 0;
};

// Source of the rules: jinja2's lexer. Line ends become "\n", and the last one of the source goes.
// The tokens end with one of kind kEnd. Errors name line and column.
core::Result<std::vector<Token>> tokenize(std::string_view source);

// "line 3, column 14: message"
core::Error syntax_error(Position at, std::string_view message);

}  // namespace sluice::jinja
