// What the outside world got wrong travels as a value: Result<T> is a T or an Error.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "core/assert.h"

namespace sluice::core {

enum class ErrorCode {
  kInvalid,      // the input breaks its format or contract
  kUnsupported,  // well formed, but not something this build can do
  kNotFound,
  kLimit,  // over a named limit
  kIo,     // the operating system refused
};

// The message says what was found, what is allowed and where, e.g.
// "tensor 'blk.3.attn_q.weight': shape 576×576 needs 207,360 bytes, file has 98,304".
struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  std::string message;

  // The same error, seen from further out: "where: message".
  Error within(std::string_view where) const {
    return {code, fmt::format("{}: {}", where, message)};
  }
};

template <typename... Args>
Error invalid(fmt::format_string<Args...> format, Args&&... args) {
  return {ErrorCode::kInvalid, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Error unsupported(fmt::format_string<Args...> format, Args&&... args) {
  return {ErrorCode::kUnsupported, fmt::format(format, std::forward<Args>(args)...)};
}

// E: Error, or a richer one of the same kind (api::Error). It has a `message`.
template <typename T, typename E = Error>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    check();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    check();
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    check();
    return std::move(*std::get_if<0>(&state_));
  }
  const E& error() const {
    ASSERT(!ok(), "error() of a value");
    return *std::get_if<1>(&state_);
  }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void check() const { ASSERT(ok(), "value() of an error: {}", std::get_if<1>(&state_)->message); }
  std::variant<T, E> state_;
};

template <typename E>
class [[nodiscard]] Result<void, E> {
 public:
  Result() = default;
  Result(E error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const { ASSERT(ok(), "value() of an error: {}", error_->message); }
  const E& error() const {
    ASSERT(!ok(), "error() of a value");
    return *error_;
  }

 private:
  std::optional<E> error_;
};

}  // namespace sluice::core

// auto header = TRY(read_header(source));   returns the Error from the enclosing function
// A statement of its own: inside a braced initializer, or beside other arguments of a call, its
// early return would skip the destructors of what was already built there.
#define TRY(expression)                                \
  ({                                                   \
    auto try_result_ = (expression);                   \
    if (!try_result_.ok()) return try_result_.error(); \
    std::move(try_result_).value();                    \
  })
