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
  data,            // text between the tags, in Token::text
  variable_begin,  // {{
  variable_end,    // }}
  block_begin,     // {%
  block_end,       // %}
  name,
  string,   // unescaped, in Token::text
  integer,  // in Token::integer
  real,     // in Token::real
  op,       // an operator or bracket, in Token::text
  end,      // of the template
};

struct Token {
  TokenKind kind = TokenKind::end;
  Position at;
  std::string text;
  int64_t integer = 0;
  double real = 0;
};

// Source of the rules: jinja2's lexer. Line ends become "\n", and the last one of the source goes.
// The tokens end with one of kind `end`. Errors name line and column.
core::Result<std::vector<Token>> tokenize(std::string_view source);

// "line 3, column 14: message"
core::Error syntax_error(Position at, std::string_view message);

}  // namespace sluice::jinja
