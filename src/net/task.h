// A callable that is run at most as often as its owner likes and may own what cannot be copied
// (std::move_only_function of C++23, as much of it as this folder needs).
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace sluice::net {

template <typename Signature>
class UniqueFunction;

template <typename R, typename... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() = default;
  template <typename F>
  requires(!std::is_same_v<std::decay_t<F>, UniqueFunction> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>) UniqueFunction(F&& function)
      : holder_(std::make_unique<Holder<std::decay_t<F>>>(std::forward<F>(function))) {}

  explicit operator bool() const { return holder_ != nullptr; }
  R operator()(Args... args) { return holder_->call(std::forward<Args>(args)...); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual R call(Args... args) = 0;
  };
  template <typename F>
  struct Holder final : Base {
    explicit Holder(F function) : function_(std::move(function)) {}
    R call(Args... args) override { return function_(std::forward<Args>(args)...); }
    F function_;
  };
  std::unique_ptr<Base> holder_;
};

using Task = UniqueFunction<void()>;

}  // namespace sluice::net
