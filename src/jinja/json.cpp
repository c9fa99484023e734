#include "jinja/json.h"

#include <algorithm>
#include <cmath>

#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

class JsonWriter {
 public:
  JsonWriter(Render& render, const JsonOptions& options) : render_(render), options_(options) {}

  Result<std::string> text_of(const Value& value);

 private:
  Result<void> write(const Value& value);
  void write_string(std::string_view text);
  void write_escape(char32_t code_point);
  void write_real(double value);
  Result<void> write_list(const List& list);
  Result<void> write_dict(const Dict& dict);
  Result<void> write_key(const Value& key);
  Result<void> new_line();
  // Charges what was appended since the last time, and holds the whole against the output's limit.
  Result<void> charge_appended();

  Render& render_;
  const JsonOptions& options_;
  std::string out_;
  int64_t charged_bytes_ = 0;  // of out_
  int level_ = 0;
};

Result<void> JsonWriter::charge_appended() {
  TRY(render_.check_string(std::ssize(out_)));
  TRY(render_.charge_bytes(std::ssize(out_) - charged_bytes_));
  charged_bytes_ = std::ssize(out_);
  return {};
}

Result<void> JsonWriter::new_line() {
  if (!options_.indent) return {};
  out_ += '\n';
  for (int i = 0; i < level_; ++i) {
    out_ += *options_.indent;
    TRY(render_.check_string(std::ssize(out_)));
  }
  return {};
}

void JsonWriter::write_escape(char32_t c) {
  if (c >= 0x10000) {
    write_escape(0xD800 + ((c - 0x10000) >> 10));
    write_escape(0xDC00 + ((c - 0x10000) & 0x3FF));
    return;
  }
  out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
}

void JsonWriter::write_string(std::string_view text) {
  constexpr std::string_view kPlain = "\"\\\n\r\t\f\b";
  constexpr std::string_view kLetters = "\"\\nrtfb";
  out_ += '"';
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const size_t special = kPlain.find(c);
    if (special != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[special];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      write_escape(static_cast<char32_t>(c));
    } else if (options_.ascii_only && static_cast<unsigned char>(c) >= 0x7F) {
      write_escape(code_point_at(text, at));
      at = next_offset(text, at) - 1;
    } else {
      out_ += c;
    }
  }
  out_ += '"';
}

void JsonWriter::write_real(double value) {
  if (std::isnan(value)) {
    out_ += "NaN";
  } else if (std::isinf(value)) {
    out_ += value < 0 ? "-Infinity" : "Infinity";
  } else {
    out_ += real_text(value);
  }
}

Result<void> JsonWriter::write(const Value& value) {
  TRY(render_.charge(1));
  const Render::Depth depth(render_);
  TRY(depth.check());
  TRY(charge_appended());
  switch (value.kind()) {
    case Kind::kNone:
      out_ += "null";
      return {};
    case Kind::kBoolean:
      out_ += value.as_boolean() ? "true" : "false";
      return {};
    case Kind::kInteger:
      out_ += fmt::format("{}", value.as_integer());
      return {};
    case Kind::kReal:
      write_real(value.as_real());
      return {};
    case Kind::kString:
      write_string(value.as_string());
      return {};
    case Kind::kList:
      if (value.as_list().kind <= ListKind::kGroup) return write_list(value.as_list());
      break;
    case Kind::kDict:
      return write_dict(value.as_dict());
    default:
      break;
  }
  return core::unsupported("Object of type {} is not JSON serializable", type_name(value));
}

Result<std::string> JsonWriter::text_of(const Value& value) {
  TRY(write(value));
  TRY(charge_appended());
  return std::move(out_);
}

Result<void> JsonWriter::write_list(const List& list) {
  if (list.items.empty()) {
    out_ += "[]";
    return {};
  }
  out_ += '[';
  ++level_;
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out_ += options_.item_separator;
    TRY(new_line());
    TRY(write(list.items[i]));
  }
  --level_;
  TRY(new_line());
  out_ += ']';
  return {};
}

Result<void> JsonWriter::write_key(const Value& key) {
  if (key.is_string()) {
    write_string(key.as_string());
  } else if (key.is_number() || key.is_none()) {
    out_ += '"';
    TRY(write(key));
    out_ += '"';
  } else {
    return core::unsupported("keys must be str, int, float, bool or None, not {}", type_name(key));
  }
  return {};
}

Result<void> JsonWriter::write_dict(const Dict& dict) {
  if (dict.size() == 0) {
    out_ += "{}";
    return {};
  }
  std::vector<const Dict::Entry*> entries;
  for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
  if (options_.sort_keys) {
    Result<void> failed;
    std::ranges::stable_sort(entries, [&](const Dict::Entry* left, const Dict::Entry* right) {
      if (!failed.ok()) return false;
      const Result<bool> smaller = less(render_, left->key, right->key);
      if (!smaller.ok()) failed = smaller.error();
      return smaller.ok() && *smaller;
    });
    TRY(std::move(failed));
  }
  out_ += '{';
  ++level_;
  bool first = true;
  for (const Dict::Entry* entry : entries) {
    if (!first) out_ += options_.item_separator;
    first = false;
    TRY(new_line());
    TRY(write_key(entry->key));
    out_ += options_.key_separator;
    TRY(write(entry->value));
  }
  --level_;
  TRY(new_line());
  out_ += '}';
  return {};
}

}  // namespace

Result<std::string> to_json(Render& render, const Value& value, const JsonOptions& options) {
  JsonWriter writer(render, options);
  return writer.text_of(value);
}

}  // namespace sluice::jinja
