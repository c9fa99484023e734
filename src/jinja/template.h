// Chat templates: a subset of Jinja with the semantics of jinja2's ImmutableSandboxedEnvironment
// (trim_blocks, lstrip_blocks, loopcontrols), set up as Hugging Face's apply_chat_template does.
// docs/howto/chat-template.md lists what is supported.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "jinja/value.h"

namespace sluice::jinja {

struct RenderOptions {
  int64_t now_unix_s = 0;    // for strftime_now
  int64_t utc_offset_s = 0;  // of the local time that strftime_now prints

  // Over one of these, the answer is an Error with code kLimit.
  int64_t output_bytes_max = int64_t{64} << 20;  // also of each string on the way
  int64_t steps_max = 10'000'000;  // about one per expression and per 16 bytes handled
  // Of nested expressions, blocks and macro calls; 1,000 of them take less than 1 MiB of stack.
  int depth_max = 1000;
};

struct Program;

class Template {
 public:
  // Errors have the form "line 3, column 14: …": kInvalid for wrong syntax, kUnsupported for
  // constructs that jinja2 has and this engine lacks (include, import, extends, block …).
  static core::Result<Template> parse(std::string_view source);

  // `globals` is a dict of the template's variables. Safe to call from several threads at once.
  // Errors:
  //   kInvalid      the template called raise_exception(message): the message, nothing added
  //   kUnsupported  the template cannot handle these variables: "line 12: 'x' is undefined"
  //   kLimit        over one of the limits of `options`
  core::Result<std::string> render(const Value& globals, const RenderOptions& options) const;

 private:
  explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  std::shared_ptr<const Program> program_;
};

}  // namespace sluice::jinja
