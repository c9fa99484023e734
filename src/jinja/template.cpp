#include "jinja/template.h"

#include "jinja/ast.h"
#include "jinja/parser.h"
#include "jinja/render.h"
#include "jinja/scope.h"

namespace sluice::jinja {

using core::Result;

Result<Template> Template::parse(std::string_view source) {
  auto program = std::make_shared<Program>(TRY(parse_program(source)));
  TRY(bind_names(*program));
  return Template(std::move(program));
}

Result<std::string> Template::render(const Value& globals, const RenderOptions& options) const {
  return Render(*program_, globals, options).run();
}

}  // namespace sluice::jinja
