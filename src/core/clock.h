// Time is a parameter: the real clock in the product, a manual one in tests and simulations.
#pragma once

#include <cstdint>

namespace sluice::core {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ns() const = 0;   // monotonic, from an arbitrary start
  virtual int64_t unix_ns() const = 0;  // wall clock, since 1970-01-01
};

class SystemClock final : public Clock {
 public:
  int64_t now_ns() const override;
  int64_t unix_ns() const override;
};

class ManualClock final : public Clock {
 public:
  int64_t now_ns() const override { return now_ns_; }
  int64_t unix_ns() const override { return kStartUnixNs + now_ns_; }
  void advance_ns(int64_t ns) { now_ns_ += ns; }

 private:
  static constexpr int64_t kStartUnixNs = 1'700'000'000'000'000'000;
  int64_t now_ns_ = 0;
};

}  // namespace sluice::core
