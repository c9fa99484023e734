#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/ranges.h>

#include "contract/snapshot_fields.h"
#include "contract/snapshot_json.h"

namespace sluice::contract {
namespace {

constexpr int64_t kNanoPerUnit = 1'000'000'000;
constexpr size_t kMoneyPlaces = 9;
constexpr int64_t kNsPerMs = 1'000'000;
// Up to here a double of milliseconds gives back every nanosecond: 10 days are under 2^50 ns.
constexpr int64_t kDurationMax_ms = 10 * 24 * 3600 * INT64_C(1000);

std::string join(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

class Reader {
 public:
  Reader(const Value& document, std::string_view path, Problems* problems)
      : document_(document), path_(path), problems_(problems) {}

  template <typename T>
  void value(std::string_view name, T& field) {
    if (const Value* found = take(name)) read(*found, join(path_, name), &field);
  }
  // null: the field is unset.
  template <typename T>
  void value(std::string_view name, std::optional<T>& field) {
    const Value* found = take(name);
    if (found == nullptr) return;
    if (found->as<std::monostate>() != nullptr) {
      field.reset();
      return;
    }
    T present = field.value_or(T{});
    read(*found, join(path_, name), &present);
    field = std::move(present);
  }
  void milliseconds(std::string_view name, int64_t& field_ns) {
    const Value* found = take(name);
    if (found == nullptr) return;
    double ms = 0;
    const std::string path = join(path_, name);
    if (!read(*found, path, &ms)) return;
    if (!(std::abs(ms) <= static_cast<double>(kDurationMax_ms)))
      return add(path, fmt::format("{} is not within ± {} (10 days)", ms, kDurationMax_ms));
    field_ns = std::llround(ms * static_cast<double>(kNsPerMs));
  }

  // Reads the members of the document; those that nobody asked for are problems.
  template <typename T>
  bool read_object(T* object) {
    const auto* members = document_.as<Value::Object>();
    if (members == nullptr) return mismatch(document_, path_, "an object");
    fields(*this, *object);
    for (const Member& member : *members)
      if (std::find(names_.begin(), names_.end(), member.name) == names_.end())
        add(join(path_, member.name),
            fmt::format("unknown; known are {}", fmt::join(names_, ", ")));
    return true;
  }

 private:
  void add(std::string_view path, std::string message) {
    problems_->push_back({std::string(path), std::move(message)});
  }
  bool mismatch(const Value& found, std::string_view path, std::string_view wanted) {
    add(path,
        fmt::format(
            "found {} {}, must be {}",
            std::string_view("aeiou").find(found.type_name()[0]) == std::string::npos ? "a" : "an",
            found.type_name(), wanted));
    return false;
  }
  const Value* take(std::string_view name) {
    names_.push_back(name);
    return document_.find(name);
  }

  bool read(const Value& found, const std::string& path, std::string* field) {
    const auto* text = found.as<std::string>();
    if (text == nullptr) return mismatch(found, path, "a string");
    *field = *text;
    return true;
  }
  bool read(const Value& found, const std::string& path, bool* field) {
    const auto* flag = found.as<bool>();
    if (flag == nullptr) return mismatch(found, path, "a boolean");
    *field = *flag;
    return true;
  }
  bool read(const Value& found, const std::string& path, int64_t* field) {
    const auto* number = found.as<int64_t>();
    if (number == nullptr) return mismatch(found, path, "an integer of 64 bits");
    *field = *number;
    return true;
  }
  bool read(const Value& found, const std::string& path, int32_t* field) {
    int64_t wide = 0;
    if (!read(found, path, &wide)) return false;
    if (wide < INT32_MIN || wide > INT32_MAX) return mismatch(found, path, "an integer of 32 bits");
    *field = static_cast<int32_t>(wide);
    return true;
  }
  bool read(const Value& found, const std::string& path, double* field) {
    if (const auto* whole = found.as<int64_t>()) {
      *field = static_cast<double>(*whole);
      return true;
    }
    const auto* number = found.as<double>();
    if (number == nullptr) return mismatch(found, path, "a number");
    *field = *number;
    return true;
  }
  bool read(const Value& found, const std::string& path, NanoMoney* field) {
    const auto* text = found.as<std::string>();
    const auto money = text == nullptr ? std::nullopt : money_from_text(*text);
    if (!money) return mismatch(found, path, "a string like \"0.15\", at most 9 places");
    *field = *money;
    return true;
  }
  bool read(const Value& found, const std::string& path, Rate* field) {
    NanoMoney money;
    if (!read(found, path, &money)) return false;
    field->nano_per_million = money.nano;
    return true;
  }
  template <typename E>
  requires std::is_enum_v<E>
  bool read(const Value& found, const std::string& path, E* field) {
    const auto& names = kNamesOf<E>;
    const auto* text = found.as<std::string>();
    if (text == nullptr) return mismatch(found, path, "a string");
    const auto name = std::find(names.begin(), names.end(), *text);
    if (name == names.end()) {
      add(path, fmt::format("'{}' is none of {}", *text, fmt::join(names, ", ")));
      return false;
    }
    *field = static_cast<E>(name - names.begin());
    return true;
  }
  template <typename T>
  bool read(const Value& found, const std::string& path, std::vector<T>* field) {
    const auto* items = found.as<Value::Array>();
    if (items == nullptr) return mismatch(found, path, "an array");
    field->clear();
    field->reserve(items->size());
    for (size_t i = 0; i < items->size(); ++i)
      read((*items)[i], fmt::format("{}[{}]", path, i), &field->emplace_back());
    return true;
  }
  bool read(const Value& found, const std::string& path,
            std::map<std::string, std::string>* field) {
    const auto* members = found.as<Value::Object>();
    if (members == nullptr) return mismatch(found, path, "an object of strings");
    field->clear();
    for (const Member& member : *members)
      read(member.value, join(path, member.name), &(*field)[member.name]);
    return true;
  }
  bool read(const Value& found, const std::string& path, Price* field) {
    const bool done = Reader(found, path, problems_).read_object(field);
    fill_in_rates(found, field);
    return done;
  }
  template <typename T>
  requires std::is_class_v<T>
  bool read(const Value& found, const std::string& path, T* field) {
    return Reader(found, path, problems_).read_object(field);
  }

 public:
  // Nobody means a price whose cached or reasoning tokens are free because it does not name them:
  // they cost what other input and output does.
  static void fill_in_rates(const Value& document, Price* price) {
    const auto follow = [&](Unit unit, Unit like) {
      const auto index = static_cast<size_t>(unit);
      if (document.find(kRateNames[index]) == nullptr)
        price->rates[index] = price->rates[static_cast<size_t>(like)];
    };
    follow(Unit::kCachedPromptToken, Unit::kPromptToken);
    follow(Unit::kReasoningToken, Unit::kOutputToken);
  }

 private:
  const Value& document_;
  const std::string path_;
  Problems* problems_;
  std::vector<std::string_view> names_;
};

template <typename T>
void read_whole(const Value& document, std::string_view path, T* object, Problems* problems) {
  Reader(document, path, problems).read_object(object);
}

}  // namespace

std::optional<NanoMoney> money_from_text(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  const auto all_digits = [](std::string_view digits) {
    return digits.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (whole.empty() || !all_digits(whole) || !all_digits(fraction)) return std::nullopt;
  if (point != std::string_view::npos && fraction.empty()) return std::nullopt;
  if (fraction.size() > kMoneyPlaces) return std::nullopt;
  int64_t units = 0;
  if (std::from_chars(whole.data(), whole.data() + whole.size(), units).ec != std::errc())
    return std::nullopt;
  int64_t nano = 0;
  for (size_t i = 0; i < kMoneyPlaces; ++i)
    nano = nano * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
  // Built on the negative side, which reaches one further.
  int64_t total = 0;
  if (__builtin_mul_overflow(-units, kNanoPerUnit, &total)) return std::nullopt;
  if (__builtin_sub_overflow(total, nano, &total)) return std::nullopt;
  if (negative) return NanoMoney{total};
  if (total == std::numeric_limits<int64_t>::min()) return std::nullopt;
  return NanoMoney{-total};
}

void read_into(const Value& document, std::string_view path, Tenant* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Project* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Key* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Pool* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Replica* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Model* object, Problems* problems) {
  read_whole(document, path, object, problems);
}
void read_into(const Value& document, std::string_view path, Price* object, Problems* problems) {
  read_whole(document, path, object, problems);
  Reader::fill_in_rates(document, object);
}
void read_into(const Value& document, std::string_view path, Snapshot* object, Problems* problems) {
  read_whole(document, path, object, problems);
}

core::Result<Snapshot> parse_snapshot(std::string_view json) {
  const Value document = TRY(parse_json_value(json));
  Snapshot snapshot;
  Problems problems;
  read_into(document, "", &snapshot, &problems);
  if (problems.empty()) problems = validate(snapshot);
  if (!problems.empty()) return core::invalid("{}", to_text(problems));
  return snapshot;
}

}  // namespace sluice::contract
