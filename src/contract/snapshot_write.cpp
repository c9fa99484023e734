#include <iterator>

#include <fmt/format.h>

#include "contract/snapshot_fields.h"
#include "contract/snapshot_json.h"

namespace sluice::contract {
namespace {

constexpr int64_t kNanoPerUnit = 1'000'000'000;
constexpr int64_t kNsPerMs = 1'000'000;

// value / unit as a decimal with as many places as it needs; unit is 10^places.
std::string decimal(int64_t value, int64_t unit, int places) {
  const uint64_t magnitude =
      value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const auto divisor = static_cast<uint64_t>(unit);
  std::string text = fmt::format("{}{}", value < 0 ? "-" : "", magnitude / divisor);
  if (magnitude % divisor == 0) return text;
  text += fmt::format(".{:0{}}", magnitude % divisor, places);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

void append_string(std::string* out, std::string_view text) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(*out), "\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}

  template <typename T>
  void value(std::string_view name, const T& field) {
    key(name);
    write(field);
  }
  template <typename T>
  void value(std::string_view name, const std::optional<T>& field) {
    if (field) value(name, *field);
  }
  void milliseconds(std::string_view name, int64_t ns) {
    key(name);
    *out_ += decimal(ns, kNsPerMs, 6);
  }

  template <typename T>
  requires std::is_class_v<T>
  void write(const T& object) {
    out_->push_back('{');
    Writer members(out_);
    fields(members, object);
    out_->push_back('}');
  }
  template <typename E>
  requires std::is_enum_v<E>
  void write(E value) { append_string(out_, kNamesOf<E>[static_cast<size_t>(value)]); }
  void write(const std::string& text) { append_string(out_, text); }
  void write(bool value) { *out_ += value ? "true" : "false"; }
  void write(int32_t value) { *out_ += fmt::format("{}", value); }
  void write(int64_t value) { *out_ += fmt::format("{}", value); }
  void write(double value) { *out_ += fmt::format("{}", value); }
  void write(NanoMoney money) { append_string(out_, to_text(money)); }
  void write(Rate rate) { append_string(out_, to_text(NanoMoney{rate.nano_per_million})); }
  template <typename T>
  void write(const std::vector<T>& items) {
    out_->push_back('[');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_->push_back(',');
      write(items[i]);
    }
    out_->push_back(']');
  }
  void write(const std::map<std::string, std::string>& items) {
    out_->push_back('{');
    Writer members(out_);
    for (const auto& [name, text] : items) members.value(name, text);
    out_->push_back('}');
  }

 private:
  void key(std::string_view name) {
    if (!first_) out_->push_back(',');
    first_ = false;
    append_string(out_, name);
    out_->push_back(':');
  }

  std::string* out_;
  bool first_ = true;
};

template <typename T>
std::string written(const T& object) {
  std::string out;
  Writer(&out).write(object);
  return out;
}

}  // namespace

std::string to_text(NanoMoney money) {
  return decimal(money.nano, kNanoPerUnit, 9);
}

std::string to_json(const Tenant& object) {
  return written(object);
}
std::string to_json(const Project& object) {
  return written(object);
}
std::string to_json(const Key& object) {
  return written(object);
}
std::string to_json(const Pool& object) {
  return written(object);
}
std::string to_json(const Replica& object) {
  return written(object);
}
std::string to_json(const Model& object) {
  return written(object);
}
std::string to_json(const Price& object) {
  return written(object);
}
std::string to_json(const Snapshot& object) {
  return written(object);
}

}  // namespace sluice::contract
