// What the tests on a card share: the card, and arrays that lie on a device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "kernels/cuda/open_cuda.h"
#include "kernels/ref/ref_device.h"

namespace sluice::kernels {

// One for all tests of the program; null, with the reason, where there is none.
struct Card {
  std::shared_ptr<Device> device;
  std::string reason;
};
const Card& card();

// Skips the running test on a machine without a card.
#define NEEDS_CARD() \
  if (card().device == nullptr) GTEST_SKIP() << card().reason

// An array on a device, from the host's values.
template <typename T>
class OnDevice {
 public:
  OnDevice(Device& device, const std::vector<T>& values)
      : device_(device),
        count_(values.size()),
        memory_(device.allocate(bytes() + 64, MemoryKind::kDevice).value()) {
    device.upload(memory_.data(), reinterpret_cast<const std::byte*>(values.data()), bytes());
  }
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  std::vector<T> values() const {
    const DeviceBuffer host = device_.allocate(bytes() + 64, MemoryKind::kPinned).value();
    device_.fetch(host.data(), memory_.data(), bytes());
    device_.wait();
    const auto* first = reinterpret_cast<const T*>(host.data());
    return std::vector<T>(first, first + count_);
  }

 private:
  int64_t bytes() const { return static_cast<int64_t>(count_ * sizeof(T)); }
  Device& device_;
  size_t count_;
  DeviceBuffer memory_;
};

std::vector<float> floats_of(const std::vector<uint16_t>& values, float (*decode)(uint16_t));
std::vector<uint16_t> bf16_of(const std::vector<float>& values);
// Random weights as pack_for_device() lays them out.
std::vector<std::byte> packed_of(core::Rng& rng, core::DType type, int64_t outputs, int64_t inputs);

}  // namespace sluice::kernels
