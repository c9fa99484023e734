#include "jinja/support.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "jinja/operators.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

Result<int64_t> integer_or(const Value* argument, int64_t otherwise) {
  return argument == nullptr ? Result<int64_t>(otherwise) : integer_of(*argument);
}

bool is_true(const Value* argument) {
  return argument != nullptr && truth(*argument);
}

bool is_given(const Value* argument) {
  return argument != nullptr && !argument->is_none();
}

Result<std::string_view> string_of(const Value& argument, std::string_view what) {
  if (argument.is_undefined()) return undefined_error(argument);
  if (!argument.is_string()) {
    return core::unsupported("{} must be str, not {}", what, type_name(argument));
  }
  return std::string_view(argument.as_string());
}

Result<AttributePath> AttributePath::of(const Value* attribute) {
  AttributePath path;
  if (!is_given(attribute)) return path;
  if (!attribute->is_string()) {
    path.parts_.push_back(*attribute);
    return path;
  }
  const std::string& names = attribute->as_string();
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find('.', begin), names.size());
    const std::string part = names.substr(begin, end - begin);
    const bool is_index = all_in_class(part, CharacterClass::kDigit);
    const auto index = is_index ? TRY(parse_integer(part, 10)) : std::nullopt;
    path.parts_.push_back(index ? Value::integer(*index) : Value::string(part));
    begin = end + 1;
  }
  return path;
}

Result<Value> AttributePath::get(Render& render, const Value& item, const Value* otherwise) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = TRY(subscript(render, value, part));
    if (value.is_undefined() && is_given(otherwise)) value = *otherwise;
  }
  return value;
}

Value ignore_case(const Value& value) {
  return value.is_string() ? Value::string(to_lower(value.as_string())) : value;
}

Result<std::vector<Value>> sort_by_keys(Render& render, std::vector<Value> items,
                                        std::vector<Value> keys, Order order) {
  std::vector<size_t> ranks(items.size());
  std::iota(ranks.begin(), ranks.end(), size_t{0});
  Result<void> failed;
  // After an error all count as equal, which ends the sorting soon.
  std::stable_sort(ranks.begin(), ranks.end(), [&](size_t left, size_t right) {
    if (!failed.ok()) return false;
    if (order == Order::kDescending) std::swap(left, right);
    const Result<bool> smaller = less(render, keys[left], keys[right]);
    if (!smaller.ok()) failed = smaller.error();
    return smaller.ok() && *smaller;
  });
  TRY(std::move(failed));
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t rank : ranks) sorted.push_back(std::move(items[rank]));
  return sorted;
}

Result<Value> generator(Render& render,
                        const std::function<Result<void>(std::vector<Value>&)>& fill) {
  std::vector<Value> items;
  const Result<void> filled = fill(items);
  if (filled.ok()) return render.make_value<Generator>(std::move(items));
  if (filled.error().code == core::ErrorCode::kLimit) return filled.error();
  return render.make_value<Generator>(std::move(items), filled.error());
}

Result<Value> soft_text(Render& render, const Value& value) {
  if (value.is_string()) return value;
  return Value::string(TRY(to_text(render, value)));
}

Value string_like(const Value& like, std::string text) {
  return like.is_safe_string() ? Value::safe_string(std::move(text))
                               : Value::string(std::move(text));
}

Result<std::string> replaced(Render& render, std::string_view text, std::string_view old,
                             std::string_view replacement, int64_t count) {
  TRY(render.charge_search(text, old));
  std::string out;
  if (count < 0) count = std::numeric_limits<int64_t>::max();
  size_t at = 0;
  if (old.empty()) {  // stands before each character and at the end
    while (count > 0) {
      out += replacement;
      --count;
      if (at == text.size()) break;
      const size_t next = next_offset(text, at);
      out += text.substr(at, next - at);
      at = next;
      TRY(render.check_string(std::ssize(out)));
    }
  }
  for (; count > 0 && !old.empty(); --count) {
    const size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += replacement;
    at = found + old.size();
    if (static_cast<int64_t>(out.size()) > render.options().output_bytes_max) break;
  }
  if (at < text.size()) out += text.substr(at);
  TRY(render.charge_string(out.size()));
  return out;
}

namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 32);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

// Removes underscores between digits; nothing where one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const bool between =
        i > 0 && i + 1 < text.size() && digit_of(text[i - 1]) < 36 && digit_of(text[i + 1]) < 36;
    if (!between) return std::nullopt;
  }
  return out;
}

}  // namespace

Result<std::optional<int64_t>> parse_integer(std::string_view text, int64_t base) {
  const std::optional<int64_t> none;
  if (base != 0 && (base < 2 || base > 36)) return none;
  const auto clean = without_underscores(strip(text));
  if (!clean) return none;
  std::string_view digits = *clean;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.size() > 2 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 32);
    const int64_t prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : -1;
    if (prefixed == base || (base == 0 && prefixed > 0)) {
      base = prefixed;
      digits.remove_prefix(2);
    }
  }
  if (base == 0) base = 10;
  if (digits.empty()) return none;
  const __int128 magnitude_max =
      static_cast<__int128>(std::numeric_limits<int64_t>::max()) + (negative ? 1 : 0);
  __int128 value = 0;
  for (const char c : digits) {
    if (digit_of(c) >= base) return none;
    value = value * base + digit_of(c);
    if (value > magnitude_max) return core::unsupported("the integer does not fit into 64 bits");
  }
  return std::optional<int64_t>(static_cast<int64_t>(negative ? -value : value));
}

std::optional<double> parse_real(std::string_view text) {
  const auto clean = without_underscores(strip(text));
  if (!clean) return std::nullopt;
  std::string_view digits = *clean;
  if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
  const std::string word = to_lower(digits);
  const bool is_word = word == "inf" || word == "infinity" || word == "nan";
  const bool is_number =
      !digits.empty() && digits.find_first_not_of("0123456789.eE+-") == std::string_view::npos;
  if (!is_word && !is_number) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(clean->c_str(), &end);
  if (end != clean->c_str() + clean->size()) return std::nullopt;
  return value;
}

}  // namespace sluice::jinja
